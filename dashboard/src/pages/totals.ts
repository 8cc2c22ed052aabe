/** The form of the Try it page: what it says, and what is wrong with it. */
import type { PredictRequest } from "../api/client.ts";

export interface Totals {
  pages_visited: string;
  time_spent: string;
  days_since_signup: string;
  is_logged_in: boolean;
}

/** As in the README's first example. */
export const SEED: Totals = {
  pages_visited: "12",
  time_spent: "180.5",
  days_since_signup: "10",
  is_logged_in: true,
};

/** The request, or null while a field holds no number; the gateway judges the rest. */
export function request(totals: Totals): PredictRequest | null {
  const numbers = {
    pages_visited: asNumber(totals.pages_visited),
    time_spent: asNumber(totals.time_spent),
    days_since_signup: asNumber(totals.days_since_signup),
  };
  const { pages_visited, time_spent, days_since_signup } = numbers;
  if (pages_visited === null || time_spent === null || days_since_signup === null) return null;
  return { pages_visited, time_spent, days_since_signup, is_logged_in: totals.is_logged_in };
}

function asNumber(text: string): number | null {
  if (text.trim() === "") return null;
  const value = Number(text);
  return Number.isFinite(value) ? value : null;
}

/** A line for a POSIX shell. */
export function curl(origin: string, body: PredictRequest): string {
  const data = JSON.stringify(body).replaceAll("'", `'\\''`);
  return `curl -s '${origin}/predict?explain=true' \\\n  -H 'content-type: application/json' \\\n  -d '${data}'`;
}
