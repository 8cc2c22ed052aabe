/** What the pages ask, how often, and for how long an answer holds. */
import { MutationCache, QueryCache, QueryClient, queryOptions } from "@tanstack/react-query";
import { body, gateway, Refused, Unreachable, type Population } from "./client.ts";
import { parseMetrics } from "./metrics.ts";
import { noticeStranger } from "./session.ts";
import { asked, gather, PER_PAGE } from "../pages/ranking.ts";
import type { AtRiskSearch } from "../search.ts";

const EVERY_MS = 5_000;
export const MOST_ALERTS = 200;

export function makeQueryClient(): QueryClient {
  const notice = (error: unknown) => noticeStranger(client, error);
  const client: QueryClient = new QueryClient({
    queryCache: new QueryCache({ onError: notice }),
    mutationCache: new MutationCache({ onError: notice }),
    defaultOptions: {
      queries: {
        // A gateway on loopback answers while the machine is offline.
        networkMode: "always",
        retry: (count, error) => error instanceof Unreachable && count < 1,
        retryDelay: 300,
        staleTime: 2_000,
        refetchOnWindowFocus: true,
      },
      mutations: { networkMode: "always" },
    },
  });
  return client;
}

/**
 * The gateway's now: with a stream clock it is the time of the data, not of this machine. Asked of
 * the one answer that costs nothing and is never shed, so that it also says who is away.
 */
export const clockQuery = queryOptions({
  queryKey: ["clock"],
  queryFn: async ({ signal }) => {
    const { as_of, model, redis } = await body(gateway.GET("/readyz", { signal }));
    if (redis !== "ok") throw new Refused(503, "Users and alerts cannot be read now", redis);
    return { asOf: Date.parse(as_of), model, askedAt: Date.now() };
  },
  refetchInterval: EVERY_MS,
});

/** A page of the table of users. Found in one request it is kept fresh, otherwise on demand. */
export const rankedQuery = (search: AtRiskSearch) => {
  const { after, ...list } = search;
  const query = asked(list);
  return queryOptions({
    queryKey: ["users", query, after ?? null],
    queryFn: ({ signal }) =>
      gather(
        (cursor, limit) =>
          body(
            gateway.GET("/users", {
              params: { query: { ...query, limit, ...(cursor !== undefined && { cursor }) } },
              signal,
            }),
          ),
        after,
      ),
    refetchInterval: ({ state }) =>
      state.data === undefined || state.data.users.length >= PER_PAGE || state.data.next === null
        ? 2 * EVERY_MS
        : false,
    placeholderData: (before) => before,
  });
};

export const userQuery = (id: string) =>
  queryOptions({
    queryKey: ["user", id],
    queryFn: ({ signal }) =>
      body(gateway.GET("/users/{user_id}", { params: { path: { user_id: id } }, signal })),
    retry: (count, error) => !(error instanceof Refused) && count < 1,
  });

/** Below `["user", id]`, so that what makes the user's page stale makes these so, too. */
export const userHistoryQuery = (id: string) =>
  queryOptions({
    queryKey: ["user", id, "history"],
    queryFn: ({ signal }) =>
      body(gateway.GET("/users/{user_id}/history", { params: { path: { user_id: id } }, signal })),
  });

export const userEventsQuery = (id: string) =>
  queryOptions({
    queryKey: ["user", id, "events"],
    queryFn: ({ signal }) =>
      body(gateway.GET("/users/{user_id}/events", { params: { path: { user_id: id } }, signal })),
  });

export const userAlertsQuery = (id: string) =>
  queryOptions({
    queryKey: ["user", id, "alerts"],
    queryFn: ({ signal }) =>
      body(gateway.GET("/users/{user_id}/alerts", { params: { path: { user_id: id } }, signal })),
  });

export const alertsQuery = queryOptions({
  queryKey: ["alerts"],
  queryFn: async ({ signal }) => {
    const answer = await body(
      gateway.GET("/alerts", { params: { query: { limit: MOST_ALERTS } }, signal }),
    );
    return answer.alerts;
  },
});

/** It changes when the gateway starts anew, so rarely. */
export const modelQuery = queryOptions({
  queryKey: ["model"],
  queryFn: ({ signal }) => body(gateway.GET("/model", { signal })),
  staleTime: 60_000,
});

/** Where everybody stands, and how that went over a range. */
export const populationQuery = (range: Population["range"]) =>
  queryOptions({
    queryKey: ["population", range],
    queryFn: ({ signal }) =>
      body(gateway.GET("/population", { params: { query: { range } }, signal })),
    refetchInterval: EVERY_MS,
    placeholderData: (before) => before,
  });

export const ratesQuery = queryOptions({
  queryKey: ["population", "rates"],
  queryFn: ({ signal }) => body(gateway.GET("/population/rates", { signal })),
  refetchInterval: EVERY_MS,
});

export const metricsQuery = queryOptions({
  queryKey: ["metrics"],
  queryFn: async ({ signal }) => {
    const text = await body(gateway.GET("/metrics", { parseAs: "text", signal }));
    return { families: parseMetrics(text as string), at: Date.now() };
  },
  refetchInterval: EVERY_MS,
});
