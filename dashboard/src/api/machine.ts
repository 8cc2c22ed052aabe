/** What the pages about the model and the machine ask. */
import { queryOptions } from "@tanstack/react-query";
import type { components } from "./schema.ts";
import { body, gateway } from "./client.ts";
import type { Topic } from "./topics.ts";

type Schemas = components["schemas"];
export type Quality = Schemas["Quality"];
export type Reliability = Schemas["Reliability"];
export type FeatureEffect = Schemas["FeatureEffect"];
export type Spread = Schemas["Spread"];
export type DriftPage = Schemas["DriftPage"];
export type DriftRow = Schemas["DriftRow"];
export type SystemPage = Schemas["SystemPage"];
export type TopicLag = Schemas["TopicLag"];
export type Worker = Schemas["Worker"];
export type TimerState = Schemas["TimerState"];
export type DeadLetters = Schemas["DeadLetters"];
export type DeadLetter = Schemas["DeadLetter"];
export type Shown = Schemas["Shown"];

/** It comes with the model, which changes when the gateway starts anew. */
export const qualityQuery = queryOptions({
  queryKey: ["model", "quality"],
  queryFn: ({ signal }) => body(gateway.GET("/model/quality", { signal })),
  staleTime: 60_000,
});

/** The gateway draws a sample at most once a minute. */
export const driftQuery = queryOptions({
  queryKey: ["model", "drift"],
  queryFn: ({ signal }) => body(gateway.GET("/model/drift", { signal })),
  refetchInterval: 30_000,
});

export const systemQuery = queryOptions({
  queryKey: ["system"],
  queryFn: async ({ signal }) => ({
    page: await body(gateway.GET("/system", { signal })),
    at: Date.now(),
  }),
  refetchInterval: 5_000,
});

export const deadLettersQuery = (topic: Topic, reason: string, cursor: string | undefined) =>
  queryOptions({
    queryKey: ["dead-letters", topic, reason, cursor ?? null],
    queryFn: ({ signal }) =>
      body(
        gateway.GET("/dead-letters", {
          params: { query: { topic, reason, limit: 25, ...(cursor !== undefined && { cursor }) } },
          signal,
        }),
      ),
    refetchInterval: cursor === undefined ? 10_000 : false,
    placeholderData: (before) => before,
  });
