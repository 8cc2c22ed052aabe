/** Counts by band over time as layers of a chart, and what is marked on it. */
import type { Population } from "../api/client.ts";
import { DAY, HOUR } from "../words/times.ts";

export type Basis = "counted" | "simulated";
export type Range = Population["range"];

export interface Stop {
  readonly at: number;
  /** Users by band, the lowest risk first. */
  readonly bands: readonly number[];
  readonly total: number;
}

export function stops(trend: Population["trend"], basis: Basis): Stop[] {
  return trend.map((point) => {
    const bands = point[basis];
    return { at: Date.parse(point.at), bands, total: bands.reduce((sum, each) => sum + each, 0) };
  });
}

export interface Edge {
  readonly at: number;
  readonly low: number;
  readonly high: number;
}

/** A layer per band, the highest risk at the bottom: it is what people look for. */
export function layers(points: readonly Stop[]): Edge[][] {
  const bands = points[0]?.bands.length ?? 0;
  return Array.from({ length: bands }, (_, band) =>
    points.map(({ at, bands: counts }) => {
      const low = counts.slice(band + 1).reduce((sum, each) => sum + each, 0);
      return { at, low, high: low + (counts[band] ?? 0) };
    }),
  );
}

/** Where an axis of counts ends: a round number, at least 4. */
export function top(points: readonly Stop[]): number {
  const most = Math.max(4, ...points.map(({ total }) => total));
  const size = 10 ** Math.floor(Math.log10(most));
  return (
    [1, 1.2, 1.6, 2, 2.4, 3.2, 4, 5, 6, 8, 10]
      .map((times) => times * size)
      .find((each) => each >= most && Number.isInteger(each / 4)) ?? most
  );
}

/** Moments to write below the chart, at midnights (or hours) of the viewer's zone. */
export function ticks(from: number, to: number, range: Range): number[] {
  const found: number[] = [];
  const first = new Date(from);
  if (range === "day") first.setHours(Math.ceil(first.getHours() / 6) * 6, 0, 0, 0);
  else first.setHours(0, 0, 0, 0);
  if (range === "year") first.setDate(1);
  for (let at = first; at.getTime() <= to && found.length < 60;) {
    if (at.getTime() >= from) found.push(at.getTime());
    at = new Date(at);
    if (range === "day") at.setHours(at.getHours() + 6);
    else if (range === "year") at.setMonth(at.getMonth() + 1);
    else at.setDate(at.getDate() + (range === "week" ? 1 : 5));
  }
  return found;
}

/** The stop a moment is nearest to. */
export function nearest(points: readonly Stop[], at: number): Stop | null {
  let best: Stop | null = null;
  for (const point of points) {
    if (best === null || Math.abs(point.at - at) < Math.abs(best.at - at)) best = point;
  }
  return best;
}

/** Evenly spaced stops, the last one among them: for a table that can be read. */
export function few(points: readonly Stop[], most: number): Stop[] {
  const step = Math.max(1, Math.ceil(points.length / most));
  return points.filter((_, i) => (points.length - 1 - i) % step === 0);
}

/** Whose counts to show unless the address says so: a model's that has seen real users. */
export function basisOf(population: Population, wanted: Basis | undefined): Basis {
  if (wanted !== undefined) return wanted;
  return total(population, "counted") === 0 && total(population, "simulated") > 0
    ? "simulated"
    : "counted";
}

export function total(population: Population, basis: Basis): number {
  return population.bands.reduce((sum, band) => sum + usersOf(band, basis).counted, 0);
}

export function leftOut(population: Population, basis: Basis): { little: number; gone: number } {
  const all = population.bands.map((band) => usersOf(band, basis));
  return {
    little: all.reduce((sum, { little_evidence }) => sum + little_evidence, 0),
    gone: all.reduce((sum, { cancelled }) => sum + cancelled, 0),
  };
}

/** Who was silent for so long that no risk is told of them; null before a model was met. */
export function lapsedOf(
  { lapsed }: Population,
  basis: Basis,
): { users: number; days: number } | null {
  if (lapsed === null) return null;
  const users = basis === "counted" ? lapsed.users : lapsed.simulated;
  return { users, days: lapsed.after_days };
}

type Band = Population["bands"][number];

export const usersOf = (band: Band, basis: Basis) =>
  basis === "counted" ? band.users : band.simulated;

export const stayedOf = (band: Band, basis: Basis) =>
  basis === "counted" ? band.stayed : band.stayed_simulated;

export interface Share {
  /** Of the band's user-days, at most 1. */
  readonly share: number;
  /** Whether it lies within the band, the least and the most that its count allows. */
  readonly fits: boolean;
  readonly low: number;
  readonly high: number;
}

/**
 * What a band's mature cohorts showed against what the band claims. A user counts for several days,
 * so the interval (Wilson, 95%) is narrower than the truth; it only keeps us from calling ten
 * user-days a miss.
 */
export function share(band: Band, basis: Basis): Share | null {
  const stayed = stayedOf(band, basis);
  if (stayed === null) return null;
  const { share: found, user_days: n } = stayed;
  const z = 1.96;
  const middle = (found + (z * z) / (2 * n)) / (1 + (z * z) / n);
  const half =
    (z / (1 + (z * z) / n)) * Math.sqrt((found * (1 - found)) / n + (z * z) / (4 * n * n));
  const [low, high] = [Math.max(0, middle - half), Math.min(1, middle + half)];
  return { share: found, low, high, fits: high >= band.low && low <= band.high };
}

/** "under 10%", "10 to 30%", "70% and more". */
export function bandName({ low, high }: Band): string {
  const text = (edge: number) => `${Math.round(edge * 100)}%`;
  if (low === 0) return `under ${text(high)}`;
  return high === 1 ? `${text(low)} and more` : `${Math.round(low * 100)} to ${text(high)}`;
}

export const RANGES: readonly Range[] = ["day", "week", "month", "year"];

export const LENGTH: Readonly<Record<Range, number>> = {
  day: 24 * HOUR,
  week: 7 * DAY,
  month: 30 * DAY,
  year: 365 * DAY,
};
