/** What the Alerts page asks. Keys begin with "alerts", so that what is done to one refreshes them. */
import { infiniteQueryOptions, keepPreviousData, queryOptions } from "@tanstack/react-query";
import type { AlertsSearch } from "../search.ts";
import { OPEN_STATES } from "../search.ts";
import { body, gateway, type Schemas } from "./client.ts";

export type Delivery = Schemas["Delivery"];
export type DeliveryList = Schemas["DeliveryList"];
export type DeliveryState = Delivery["state"];
export type Effects = Schemas["Effects"];
export type RuleEffect = Schemas["RuleEffect"];
export type StormPage = Schemas["StormPage"];
export type Storm = Schemas["Storm"];
export type StandingVerdict = Schemas["StandingVerdict"];
export type RuleVerdicts = Schemas["RuleVerdicts"];
export type Policy = Schemas["PolicyInForce"];

const PER_PAGE = 50;

type Cursor = string | null;
const pages = {
  initialPageParam: null as Cursor,
  getNextPageParam: (last: { next?: string | null }): Cursor => last.next ?? null,
  placeholderData: keepPreviousData,
};
const from = (cursor: Cursor) => (cursor === null ? {} : { cursor });

/** What is not asked for again by itself is while it cannot be had: pages say that they try. */
const whileFailing =
  (otherwise: number | false) =>
  ({ state }: { state: { status: string } }): number | false =>
    state.status === "error" ? 5_000 : otherwise;

/** Episodes that are open, each with its newest alert. */
export const openQuery = ({ state, arm, rule, severity, user }: AlertsSearch) =>
  infiniteQueryOptions({
    queryKey: ["alerts", "open", { state, arm, rule, severity, user }],
    queryFn: ({ pageParam, signal }) =>
      body(
        gateway.GET("/alerts", {
          params: {
            query: {
              state: state === undefined ? [...OPEN_STATES] : [state],
              // Whoever acts on the held-out spoils the measurement of what alerts do.
              arm: arm ?? "treated",
              limit: PER_PAGE,
              ...(rule !== undefined && { rule: [rule] }),
              ...(severity !== undefined && { severity: [severity] }),
              ...(user !== undefined && { user }),
              ...from(pageParam),
            },
          },
          signal,
        }),
      ),
    refetchInterval: whileFailing(30_000),
    ...pages,
  });

/** Alerts that were, of everybody or of one user. */
export const historyQuery = ({ kind, arm, rule, severity, user }: AlertsSearch) =>
  infiniteQueryOptions({
    queryKey: ["alerts", "history", { kind, arm, rule, severity, user }],
    queryFn: ({ pageParam, signal }) =>
      body(
        gateway.GET("/alerts", {
          params: {
            query: {
              limit: PER_PAGE,
              ...(kind !== undefined && { kind: [kind] }),
              ...(arm !== undefined && { arm }),
              ...(rule !== undefined && { rule: [rule] }),
              ...(severity !== undefined && { severity: [severity] }),
              ...(user !== undefined && { user }),
              ...from(pageParam),
            },
          },
          signal,
        }),
      ),
    refetchInterval: whileFailing(false),
    ...pages,
  });

export const deliveriesQuery = ({ channel, delivery, user }: AlertsSearch, limit = PER_PAGE) =>
  infiniteQueryOptions({
    queryKey: ["alerts", "deliveries", { channel, delivery, user }, limit],
    queryFn: ({ pageParam, signal }) =>
      body(
        gateway.GET("/deliveries", {
          params: {
            query: {
              limit,
              ...(channel !== undefined && { channel: [channel] }),
              ...(delivery !== undefined && { state: [delivery] }),
              ...(user !== undefined && { user }),
              ...from(pageParam),
            },
          },
          signal,
        }),
      ),
    refetchInterval: 5_000,
    ...pages,
  });

export const verdictsQuery = ({ rule, verdict, user }: AlertsSearch) =>
  queryOptions({
    queryKey: ["alerts", "verdicts", { rule, verdict, user }],
    queryFn: ({ signal }) =>
      body(
        gateway.GET("/alerts/verdicts", {
          params: {
            query: {
              limit: 200,
              ...(rule !== undefined && { rule: [rule] }),
              ...(verdict !== undefined && { verdict: [verdict] }),
              ...(user !== undefined && { user }),
            },
          },
          signal,
        }),
      ),
    placeholderData: keepPreviousData,
    refetchInterval: 15_000,
  });

export const effectQuery = queryOptions({
  queryKey: ["alerts", "effect"],
  queryFn: ({ signal }) => body(gateway.GET("/alerts/effect", { signal })),
  refetchInterval: whileFailing(60_000),
});

export const stormQuery = queryOptions({
  queryKey: ["alerts", "storm"],
  queryFn: ({ signal }) => body(gateway.GET("/storm", { signal })),
  // Whoever has decided something waits for it.
  refetchInterval: ({ state }) => (state.data?.pending == null ? 5_000 : 1_000),
});

export const policyQuery = queryOptions({
  queryKey: ["policy"],
  queryFn: async ({ signal }) => (await body(gateway.GET("/policy", { signal }))).policy,
  refetchInterval: 60_000,
  staleTime: 10_000,
});

export const resend = (delivery_id: string) =>
  body(
    gateway.POST("/deliveries/{delivery_id}/resend", {
      params: { path: { delivery_id } },
      body: {},
    }),
  );

export const decide = (order: "release" | "discard") =>
  body(
    order === "release"
      ? gateway.POST("/storm/release", { body: {} })
      : gateway.POST("/storm/discard", { body: {} }),
  );
