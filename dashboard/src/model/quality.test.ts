import { expect, test } from "vitest";
import type { DriftRow } from "../api/machine.ts";
import {
  amount,
  binNames,
  driftSaid,
  featureRows,
  isOff,
  moved,
  range,
  shares,
} from "./quality.ts";

const feature = (name: string, more = {}) => ({
  name,
  unit: "days",
  low: 0,
  high: 28,
  kind: "fading",
  direction: -1,
  definition: "",
  why: "",
  ...more,
});
const drift = (name: string, index: number, chance: number, more = {}): DriftRow => ({
  name,
  index,
  by_chance: chance,
  verdict: index < 0.1 ? "stable" : index < 0.25 ? "some" : "shifted",
  training: { cuts: [1, 5], rows: [10, 10, 80], missing: 0 },
  live: { cuts: [1, 5], rows: [10, 60, 10], missing: 20 },
  ...more,
});

test("shares come to one, with those that are not known", () => {
  const found = shares({ cuts: [1], rows: [1, 2], missing: 1 });

  expect(found).toEqual({ bins: [0.25, 0.5], missing: 0.25 });
  expect(shares({ cuts: [], rows: [0], missing: 0 }).bins).toEqual([0]);
});

test("bins are named by their ends", () => {
  expect(binNames([1, 5.25])).toEqual(["below 1", "1 to 5.25", "5.25 and more"]);
  expect(binNames([])).toEqual(["any"]);
});

test("an end nobody reaches is not told", () => {
  expect(range(feature("silent_days"))).toBe("0 to 28");
  expect(range(feature("pages", { high: 8.5e9 }))).toBe("0 and more");
  expect(range(feature("value", { low: -9e16, high: 9e16 }))).toBe("any");
  expect(range(feature("is_logged_in", { unit: "yes or no", high: 1 }))).toBe("0 or 1");
  expect(amount(0.00123)).toBe("0.0012");
});

test("what chance alone would do is no drift, whatever the rule of thumb says", () => {
  expect(driftSaid(drift("a", 0.2, 0.3)).words).toBe("no more than chance");
  expect(driftSaid(drift("a", 0.2, 0.1))).toEqual({ words: "some drift", tone: "raised" });
  expect(driftSaid(drift("a", 0.3, 0.1)).tone).toBe("high");
});

test("a drift says where to", () => {
  expect(moved(drift("a", 1, 0))).toEqual({ more: "1 to 5", fewer: "5 and more" });
  const same = { cuts: [], rows: [5], missing: 0 };
  expect(moved(drift("a", 0, 0, { training: same, live: same }))).toEqual({
    more: null,
    fewer: null,
  });
});

test("features are ordered by what is asked for, and the unknown come last", () => {
  const features = [feature("b"), feature("a"), feature("c")];
  const effect = (name: string, moves: number | null) => ({
    name,
    concept: "trend",
    moves,
    spread: { cuts: [], rows: [1], missing: 0 },
    by_bin: [],
    when_missing: null,
  });
  const effects = [effect("a", 0.1), effect("c", 0.7)];
  const drifts = [drift("b", 0.4, 0), drift("a", 0.1, 0)];
  const names = (order: "effect" | "drift" | "name") =>
    featureRows(features, effects, drifts, order).map((row) => row.feature.name);

  expect(names("effect")).toEqual(["c", "a", "b"]);
  expect(names("drift")).toEqual(["b", "a", "c"]);
  expect(names("name")).toEqual(["a", "b", "c"]);
});

test("a calibration error counts when it is large and no chance", () => {
  expect([isOff(0.02, 0.001), isOff(0.05, 0.04), isOff(0.09, 0.04)]).toEqual([false, false, true]);
});
