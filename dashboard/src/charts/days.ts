/** What is shown of a day. */
import type { Day } from "../api/client.ts";

export const MEASURES = ["pages", "minutes", "visits"] as const;
export type Measure = (typeof MEASURES)[number];

export const measured = (day: Day, measure: Measure): number =>
  measure === "visits" ? day.sessions : day[measure];
