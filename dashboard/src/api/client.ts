/** The gateway: typed by its OpenAPI document, failing with what it says of itself. */
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.ts";

export type Schemas = components["schemas"];
export type Alert = Schemas["ChurnAlert"];
export type Explanation = Schemas["Explanation"];
export type Model = Schemas["ModelPage"];
export type Population = Schemas["Population"];
export type Prediction = Schemas["Prediction"];
export type PredictRequest = Schemas["PredictRequest"];
export type RankedUser = Schemas["RankedUser"];
export type RankedUsers = Schemas["RankedUsers"];
export type Ready = Schemas["Ready"];
export type Reason = Schemas["Reason"];
export type Day = Schemas["Day"];
export type PastScore = Schemas["PastScore"];
export type TimelineEvent = Schemas["TimelineEvent"];
export type UserEpisode = Schemas["UserEpisode"];
export type UserPage = Schemas["UserPage"];

/** The gateway answered, and refused: a problem detail of RFC 9457. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    title: string,
    readonly detail: string,
    readonly fields: readonly { field: string; reason: string }[] = [],
  ) {
    super(title);
  }
}

/** Nothing answered. */
export class Unreachable extends Error {
  constructor() {
    super("The gateway does not answer");
  }
}

async function reach(request: Request): Promise<Response> {
  try {
    return await fetch(request);
  } catch (error) {
    if (request.signal.aborted) throw error;
    throw new Unreachable();
  }
}

/** No page of others can send it: with a login, the gateway takes changes from those who do. */
export const PAGE_HEADERS = { "Ebbtide-Page": "1" };

export const gateway = createClient<paths>({ fetch: reach, headers: PAGE_HEADERS });

/** The answer's body; throws Refused for any other than a good one. */
export async function body<T>(
  asking: Promise<{ data?: T; error?: unknown; response: Response }>,
): Promise<T> {
  const { data, error, response } = await asking;
  if (data !== undefined && response.ok) return data;
  throw refusal(response.status, error);
}

/** What a problem detail says; whatever else came becomes one. */
export function refusal(status: number, problem: unknown): Refused {
  const said = typeof problem === "object" && problem !== null ? problem : {};
  const text = (name: string) => {
    const value: unknown = (said as Record<string, unknown>)[name];
    return typeof value === "string" ? value : null;
  };
  const errors: unknown = (said as Record<string, unknown>)["errors"];
  return new Refused(
    status,
    text("title") ?? `The gateway answered ${status}`,
    text("detail") ?? "It gave no reason.",
    Array.isArray(errors) ? (errors as { field: string; reason: string }[]) : [],
  );
}
