import { expect, test } from "vitest";
import type { Population } from "../api/client.ts";
import {
  bandName,
  basisOf,
  few,
  lapsedOf,
  layers,
  nearest,
  share,
  stops,
  ticks,
  top,
} from "./trend.ts";

const nobody = { counted: 0, little_evidence: 0, cancelled: 0 };

function band(low: number, high: number, counted: number, simulated: number) {
  return {
    low,
    high,
    users: { ...nobody, counted },
    simulated: { ...nobody, counted: simulated },
    stayed: null,
    stayed_simulated: null,
  };
}

function population(counted: number, simulated: number): Population {
  return {
    as_of: "2026-03-01T10:30:00Z",
    scored_at: "2026-03-01T10:29:00Z",
    bands: [band(0, 0.1, counted, simulated), band(0.7, 1, 0, 0)],
    lapsed: { after_days: 60, users: 4, simulated: 2 },
    range: "day",
    step_seconds: 3600,
    trend: [],
    models: [],
    gaps: [],
    cohorts: null,
  };
}

const point = (at: string, counted: number[]) => ({
  at,
  counted,
  simulated: counted.map(() => 0),
  left_out: 0,
  lapsed: 0,
  activity: 0,
  scores: 0,
});

test("layers lie on one another, the highest risk at the bottom, and end at the total", () => {
  const [low, , high] = layers(stops([point("2026-03-01T00:00:00Z", [5, 0, 2])], "counted"));

  expect(high?.[0]).toMatchObject({ low: 0, high: 2 });
  expect(low?.[0]).toMatchObject({ low: 2, high: 7 });
});

test("the lapsed are those of the model that is shown, and unknown before any", () => {
  expect(lapsedOf(population(1, 1), "counted")).toEqual({ users: 4, days: 60 });
  expect(lapsedOf(population(1, 1), "simulated")).toEqual({ users: 2, days: 60 });
  expect(lapsedOf({ ...population(1, 1), lapsed: null }, "counted")).toBeNull();
});

test("an axis ends at a round number that is not below any total and has whole quarters", () => {
  const ends = [0, 3, 17, 100, 999, 12_345].map((total) => top([{ at: 0, bands: [], total }]));

  expect(ends).toEqual([4, 4, 20, 100, 1000, 16000]);
});

test("what is nearest to the pointer is told", () => {
  const points = [0, 10, 20].map((at) => ({ at, bands: [], total: at }));

  expect(nearest(points, 14)?.at).toBe(10);
  expect(nearest(points, 99)?.at).toBe(20);
  expect(nearest([], 1)).toBeNull();
});

test("a table has some rows, the latest among them", () => {
  const points = Array.from({ length: 168 }, (_, at) => ({ at, bands: [], total: 0 }));
  const rows = few(points, 14);

  expect(rows.length).toBeLessThanOrEqual(14);
  expect(rows.at(-1)?.at).toBe(167);
});

test("simulated users are shown by themselves only where nobody real is counted", () => {
  expect(basisOf(population(3, 9), undefined)).toBe("counted");
  expect(basisOf(population(0, 9), undefined)).toBe("simulated");
  expect(basisOf(population(0, 0), undefined)).toBe("counted");
  expect(basisOf(population(3, 9), "simulated")).toBe("simulated");
});

test("a band is called a miss only where its count allows to", () => {
  const claimed = band(0.7, 1, 1, 0);
  const with_ = (user_days: number, found: number) =>
    share(
      { ...claimed, stayed: { user_days, stayed_away: user_days * found, share: found } },
      "counted",
    );

  expect(share(claimed, "counted")).toBeNull();
  expect(with_(10, 0.5)?.fits).toBe(true);
  expect(with_(1000, 0.5)?.fits).toBe(false);
  expect(with_(1000, 0.8)?.fits).toBe(true);
});

test("bands are named by what they hold", () => {
  expect([band(0, 0.1, 0, 0), band(0.1, 0.3, 0, 0), band(0.7, 1, 0, 0)].map(bandName)).toEqual([
    "under 10%",
    "10 to 30%",
    "70% and more",
  ]);
});

test("ticks lie within the chart and follow the viewer's midnights", () => {
  const from = new Date(2026, 2, 1, 10).getTime();
  const week = ticks(from, from + 7 * 86_400_000, "week");

  expect(week.length).toBe(7);
  expect(week.every((at) => new Date(at).getHours() === 0)).toBe(true);
  expect(ticks(from, from + 86_400_000, "day").map((at) => new Date(at).getHours())).toEqual([
    12, 18, 0, 6,
  ]);
});
