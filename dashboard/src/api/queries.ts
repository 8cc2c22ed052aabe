/** What the pages ask, how often, and for how long an answer holds. */
import { QueryClient, queryOptions } from "@tanstack/react-query";
import { body, gateway, Refused, Unreachable } from "./client.ts";
import { parseMetrics } from "./metrics.ts";
import { Turns } from "./turns.ts";

const EVERY_MS = 5_000;
export const MOST_USERS = 1_000;
export const MOST_ALERTS = 200;

export function makeQueryClient(): QueryClient {
  return new QueryClient({
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
}

/** The gateway's now: with a stream clock it is the time of the data, not of this machine. */
export const clockQuery = queryOptions({
  queryKey: ["clock"],
  queryFn: async ({ signal }) => {
    const answer = await body(gateway.GET("/users", { params: { query: { limit: 1 } }, signal }));
    return { asOf: Date.parse(answer.as_of), origin: answer.origin, askedAt: Date.now() };
  },
  refetchInterval: EVERY_MS,
});

export const riskiestQuery = (limit: number) =>
  queryOptions({
    queryKey: ["users", limit],
    queryFn: ({ signal }) => body(gateway.GET("/users", { params: { query: { limit } }, signal })),
    refetchInterval: EVERY_MS,
    placeholderData: (before) => before,
  });

export const userQuery = (id: string) =>
  queryOptions({
    queryKey: ["user", id],
    queryFn: ({ signal }) =>
      body(gateway.GET("/users/{user_id}", { params: { path: { user_id: id } }, signal })),
    retry: (count, error) => !(error instanceof Refused) && count < 1,
  });

const few = new Turns(2);

/** The same, few at a time: for the rows of a table, behind what somebody waits for. */
export const gentleUserQuery = (id: string) =>
  queryOptions({
    ...userQuery(id),
    queryFn: ({ signal }) =>
      few.take(() =>
        body(gateway.GET("/users/{user_id}", { params: { path: { user_id: id } }, signal })),
      ),
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

export const readyQuery = queryOptions({
  queryKey: ["ready"],
  queryFn: ({ signal }) => body(gateway.GET("/readyz", { signal })),
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
