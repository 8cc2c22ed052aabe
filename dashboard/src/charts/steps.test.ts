import { expect, test } from "vitest";
import type { Explanation } from "../api/client.ts";
import { logOdds } from "../words/risk.ts";
import { marks, steps, sum } from "./steps.ts";

const reason = (contribution: number, text: string): Explanation["reasons"][number] => ({
  concept: "trend",
  contribution,
  text,
});

// From a gateway: the user's probability was 0.997926.
const TOLD: Explanation = {
  base: -2.76214,
  reasons: [3.624863, 2.748553, 1.551013, 0.888846, 0.110286, 0.014805].map((each, i) =>
    reason(each, `reason ${i}`),
  ),
};

test("each bar begins where the one above ended, and the last end is the risk", () => {
  const parts = steps(TOLD);

  expect(parts[0]?.from).toBe(TOLD.base);
  parts.slice(1).forEach((part, i) => expect(part.from).toBe(parts[i]?.to));
  expect(parts.at(-1)?.to).toBe(sum(TOLD));
  expect(sum(TOLD)).toBeCloseTo(logOdds(0.997926), 3);
});

test("without reasons the base is all there is", () => {
  expect(steps({ base: -1, reasons: [] })).toEqual([]);
  expect(sum({ base: -1, reasons: [] })).toBe(-1);
});

test("marks lie on the axis, ascending, and none too near another", () => {
  for (const [low, high] of [
    [-3, 3],
    [-3.5, -1.5],
    [2, 7],
    [-0.2, 0.2],
  ] as const) {
    const chosen = marks(low, high).map(logOdds);

    chosen.forEach((odds, i) => {
      expect(odds).toBeGreaterThanOrEqual(low);
      expect(odds).toBeLessThanOrEqual(high);
      if (i > 0) expect(odds - (chosen[i - 1] ?? 0)).toBeGreaterThanOrEqual((high - low) / 8);
    });
    expect(chosen.length).toBeGreaterThan(0);
  }
});
