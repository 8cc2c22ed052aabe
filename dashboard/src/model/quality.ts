/** How a model's figures are put: bins as words, drift as a verdict, features in an order. */
import type { DriftRow, FeatureEffect, Spread } from "../api/machine.ts";
import type { Model } from "../api/client.ts";
import { number } from "../words/numbers.ts";

export type Feature = Model["features"][number];

const MOMENTS: Readonly<Record<string, string>> = {
  all: "All moments",
  instant: "Any instant",
  session_end: "End of a session",
  silence: "Into a silence",
};

export const momentsName = (kind: string): string => MOMENTS[kind] ?? kind.replaceAll("_", " ");

/** Share of the rows in each bin, and without a value. */
export function shares({ rows, missing }: Spread): { bins: number[]; missing: number } {
  const all = rows.reduce((sum, each) => sum + each, missing);
  const share = (count: number) => (all === 0 ? 0 : count / all);
  return { bins: rows.map(share), missing: share(missing) };
}

/** "below 3", "3 to 7", "7 and more"; of one bin, "any". */
export function binNames(cuts: readonly number[]): string[] {
  const [first, last] = [cuts[0], cuts.at(-1)];
  if (first === undefined || last === undefined) return ["any"];
  const inner = cuts.slice(1).map((cut, i) => `${amount(cuts[i] ?? 0)} to ${amount(cut)}`);
  return [`below ${amount(first)}`, ...inner, `${amount(last)} and more`];
}

/** A value of a feature: three digits, however large. */
export function amount(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e6) return value.toExponential(1).replace("e+", "e");
  return size !== 0 && size < 0.01 ? value.toPrecision(2) : number(value);
}

/** "0 to 7 days"; an end nobody will reach is none. */
export function range({ low, high, unit }: Feature): string {
  const ends = high >= 1e6 ? `${amount(low)} and more` : `${amount(low)} to ${amount(high)}`;
  return unit === "yes or no" ? "0 or 1" : low <= -1e6 ? "any" : ends;
}

export type DriftTone = "calm" | "raised" | "high";

/** What the index of a column says: nothing while chance alone would do as much. */
export function driftSaid(row: DriftRow): { words: string; tone: DriftTone } {
  if (row.index <= row.by_chance) return { words: "no more than chance", tone: "calm" };
  const words = { stable: "stable", some: "some drift", shifted: "shifted" }[row.verdict];
  const tones = { stable: "calm", some: "raised", shifted: "high" } as const;
  return { words, tone: tones[row.verdict] };
}

/** Where live users are that training had fewer of, and where they lack: the largest differences. */
export function moved({ training, live }: DriftRow): { more: string | null; fewer: string | null } {
  const [before, now] = [shares(training), shares(live)];
  const names = [...binNames(training.cuts), "unknown"];
  const differences = [...now.bins, now.missing].map(
    (share, i) => share - ([...before.bins, before.missing][i] ?? 0),
  );
  const at = (best: number) => names[differences.indexOf(best)] ?? null;
  const [most, least] = [Math.max(...differences), Math.min(...differences)];
  return { more: most > 0.005 ? at(most) : null, fewer: least < -0.005 ? at(least) : null };
}

export interface FeatureRow {
  readonly feature: Feature;
  readonly effect: FeatureEffect | null;
  readonly drift: DriftRow | null;
}

export const FEATURE_ORDERS = ["effect", "drift", "name"] as const;
export type FeatureOrder = (typeof FEATURE_ORDERS)[number];

/** Every feature with what is known of it; what is not known comes last. */
export function featureRows(
  features: readonly Feature[],
  effects: readonly FeatureEffect[],
  drift: readonly DriftRow[],
  order: FeatureOrder,
): FeatureRow[] {
  const effectOf = new Map(effects.map((effect) => [effect.name, effect]));
  const driftOf = new Map(drift.map((row) => [row.name, row]));
  const rows = features.map((feature) => ({
    feature,
    effect: effectOf.get(feature.name) ?? null,
    drift: driftOf.get(feature.name) ?? null,
  }));
  if (order === "name")
    return rows.toSorted((a, b) => a.feature.name.localeCompare(b.feature.name));
  const key = ({ effect, drift: row }: FeatureRow) =>
    (order === "drift" ? row?.index : effect?.moves) ?? -1;
  return rows.toSorted((a, b) => key(b) - key(a));
}

export const CONCEPTS: Readonly<Record<string, string>> = {
  recency: "How long they have been silent",
  frequency: "How much and how often they come",
  trend: "Whether that changes",
  tenure: "How long they have been here",
  money: "What they spend",
  context: "Login, weekday, cancellation",
};

/** Whether a calibration error is more than chance and large enough to matter. */
export function isOff(error: number, floor: number): boolean {
  return error > Math.max(0.03, 2 * floor);
}
