/** A user's risk as one line: what was scored, what is now, and what silence would make of it. */
import type { PastScore } from "../api/client.ts";
import { DAY, HOUR } from "../words/times.ts";
import type { Point } from "./ahead.ts";

export const SPANS = ["week", "month", "all"] as const;
export type Span = (typeof SPANS)[number];

const LENGTHS: Readonly<Record<Exclude<Span, "all">, number>> = { week: 7 * DAY, month: 30 * DAY };

export interface Course {
  readonly from: number;
  readonly to: number;
  /** Scores in between, each holding until the next; the first may hold from before `from`. */
  readonly past: readonly Point[];
  /** From now on, rising with silence; empty where silence changes nothing. */
  readonly ahead: readonly Point[];
  /** When another model took over. */
  readonly models: readonly number[];
}

/** What of the scores and of the silence ahead falls into the span that ends now. */
export function course(
  scores: readonly PastScore[],
  rises: readonly Point[],
  now: number,
  riskNow: number,
  span: Span,
): Course {
  const told = scores.map(({ at, churn_probability }) => ({
    at: Date.parse(at),
    risk: churn_probability,
  }));
  const first = told[0]?.at ?? now - DAY;
  const from =
    span === "all" ? Math.min(first, now - HOUR) : Math.max(now - LENGTHS[span], first - HOUR);
  const before = told.findLast(({ at }) => at < from);
  const within = told.filter(({ at }) => at >= from && at <= now);
  const past = [...(before === undefined ? [] : [{ at: from, risk: before.risk }]), ...within];
  const later = rises.filter(({ at, risk }) => at > now && risk > riskNow);
  // As far ahead as it rises, but no further than makes the past too narrow to see.
  const furthest = now + Math.max(2 * (now - from), 7 * DAY);
  const last = later.findLast(({ at }) => at <= furthest)?.at ?? now;
  const to = Math.max(last + (last - from) * 0.06, now + (now - from) * 0.06);
  const shown = later.filter(({ at }) => at <= to);
  return {
    from,
    to,
    past,
    ahead: shown.length === 0 ? [] : [{ at: now, risk: riskNow }, ...shown],
    models: scores
      .filter(({ new_model, at }) => new_model && Date.parse(at) >= from)
      .map(({ at }) => Date.parse(at)),
  };
}

/**
 * The risk at which alerts open: the rung that is reached at `atRiskAt`. Where several are reached
 * at once, the moment says nothing; then what the last alert said, null without one.
 */
export function threshold(
  crossings: readonly { level: number; at: string | null }[],
  atRiskAt: string | null,
  alerts: readonly { threshold: number }[],
): number | null {
  const reached = crossings.filter(({ at }) => at !== null && at === atRiskAt);
  if (reached.length === 1) return reached[0]?.level ?? null;
  return alerts[0]?.threshold ?? null;
}

const STEPS = [1, 3, 6, 12, 24, 48, 96, 168, 336, 720, 1440, 2160, 4380, 8760];

/** Local midnights, or round local hours, at most `most` of them. */
export function timeMarks(from: number, to: number, most = 6): number[] {
  const hours = STEPS.find((each) => (to - from) / (each * HOUR) <= most) ?? 17_520;
  const first = new Date(from);
  if (hours >= 24) first.setHours(0, 0, 0, 0);
  else first.setHours(Math.floor(first.getHours() / hours) * hours, 0, 0, 0);
  const marks: number[] = [];
  // By the calendar, so that a change of the clocks does not shift what follows.
  for (let at = first; at.getTime() <= to;) {
    if (at.getTime() >= from) marks.push(at.getTime());
    const next = new Date(at);
    if (hours >= 24) next.setDate(next.getDate() + hours / 24);
    else next.setHours(next.getHours() + hours);
    at = next;
  }
  return marks;
}

/** The score that held at a moment, null before the first. */
export function holding<T extends { at: number }>(scores: readonly T[], at: number): T | null {
  return scores.findLast((score) => score.at <= at) ?? null;
}
