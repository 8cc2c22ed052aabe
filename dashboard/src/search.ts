/** The state that addresses hold. Whatever else is written in an address counts for nothing. */
import type { Alert } from "./api/client.ts";

export const SORTS = ["risk", "seen", "reached"] as const;
export type Sort = (typeof SORTS)[number];

export interface AtRiskSearch {
  /** Part of a user's id. */
  q?: string;
  sort?: Sort;
  /** From 1. */
  page?: number;
}

export function atRiskSearch(given: Record<string, unknown>): AtRiskSearch {
  const found: AtRiskSearch = {};
  const q = words(given["q"]);
  if (q !== undefined) found.q = q;
  const sort = SORTS.find((each) => each === given["sort"]);
  if (sort !== undefined && sort !== "risk") found.sort = sort;
  const page = Number(given["page"]);
  if (Number.isInteger(page) && page > 1) found.page = page;
  return found;
}

export interface UserSearch {
  id?: string;
}

export function userSearch(given: Record<string, unknown>): UserSearch {
  const id = words(given["id"]);
  return id === undefined ? {} : { id };
}

export interface AlertsSearch {
  kind?: Alert["kind"];
}

export const KINDS: readonly Alert["kind"][] = [
  "opened",
  "escalated",
  "acknowledged",
  "snoozed",
  "resolved",
  "churned",
];

export function alertsSearch(given: Record<string, unknown>): AlertsSearch {
  const kind = KINDS.find((each) => each === given["kind"]);
  return kind === undefined ? {} : { kind };
}

/** The router reads `?id=42` as a number; a user's id is text all the same. */
function words(value: unknown): string | undefined {
  if (typeof value === "string" && value !== "") return value;
  return typeof value === "number" || typeof value === "boolean" ? String(value) : undefined;
}
