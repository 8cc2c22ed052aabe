/** The silence curve as points in time. */
import type { UserPage } from "../api/client.ts";

export interface Point {
  readonly at: number;
  readonly risk: number;
}

/**
 * Risk is at least `risk` from `at` on, until the next point, if the user does nothing. Rungs that
 * silence does not reach are left out; of rungs reached at once the highest stays.
 */
export function ahead(crossings: UserPage["crossings"]): Point[] {
  const points: Point[] = [];
  for (const { level, at } of crossings) {
    if (at === null) continue;
    const point = { at: Date.parse(at), risk: level };
    if (points.at(-1)?.at === point.at) points.pop();
    points.push(point);
  }
  return points;
}
