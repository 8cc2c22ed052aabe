import { expect, test } from "vitest";
import type { PastScore } from "../api/client.ts";
import { DAY, HOUR } from "../words/times.ts";
import { course, holding, threshold, timeMarks } from "./course.ts";

const NOW = Date.UTC(2026, 5, 20, 12);

function score(daysAgo: number, churn_probability: number, new_model = false): PastScore {
  return {
    at: new Date(NOW - daysAgo * DAY).toISOString(),
    churn_probability,
    trigger: "silence",
    new_model,
    little_evidence: false,
    cancelled: false,
    simulated: false,
  };
}

test("a week begins with the score that held when it began", () => {
  const { from, past } = course(
    [score(40, 0.1), score(9, 0.2), score(3, 0.6)],
    [],
    NOW,
    0.6,
    "week",
  );

  expect(from).toBe(NOW - 7 * DAY);
  expect(past).toEqual([
    { at: from, risk: 0.2 },
    { at: NOW - 3 * DAY, risk: 0.6 },
  ]);
});

test("a span is no longer than what is known", () => {
  const { from, past } = course([score(2, 0.3)], [], NOW, 0.3, "month");

  expect(from).toBe(NOW - 2 * DAY - HOUR);
  expect(past).toEqual([{ at: NOW - 2 * DAY, risk: 0.3 }]);
});

test("ahead is what silence adds to the risk of now", () => {
  const rises = [
    { at: NOW - DAY, risk: 0.2 },
    { at: NOW + DAY, risk: 0.3 },
    { at: NOW + 2 * DAY, risk: 0.7 },
    { at: NOW + 400 * DAY, risk: 0.9 },
  ];
  const { ahead, to } = course([score(5, 0.3)], rises, NOW, 0.4, "all");

  expect(ahead).toEqual([
    { at: NOW, risk: 0.4 },
    { at: NOW + 2 * DAY, risk: 0.7 },
  ]);
  expect(to).toBeGreaterThan(NOW + 2 * DAY);
  expect(to).toBeLessThan(NOW + 10 * DAY);
  expect(course([score(5, 0.3)], [], NOW, 0.4, "all").ahead).toEqual([]);
});

test("a change of the model is marked where it falls into the span", () => {
  const scores = [score(20, 0.1, true), score(3, 0.2, true), score(1, 0.3)];

  expect(course(scores, [], NOW, 0.3, "week").models).toEqual([NOW - 3 * DAY]);
  expect(course(scores, [], NOW, 0.3, "all").models).toHaveLength(2);
});

test("the threshold is the rung that is reached when the alert is due", () => {
  const crossings = [
    { level: 0.5, at: "2026-06-20T00:00:00Z" },
    { level: 0.7, at: "2026-06-22T00:00:00Z" },
    { level: 0.9, at: null },
  ];

  expect(threshold(crossings, "2026-06-22T00:00:00Z", [])).toBe(0.7);
  expect(threshold(crossings, null, [])).toBeNull();
  // Somebody who cancelled reaches all of them at once.
  const atOnce = crossings.map(({ level }) => ({ level, at: "2026-06-22T00:00:00Z" }));
  expect(threshold(atOnce, "2026-06-22T00:00:00Z", [])).toBeNull();
  expect(threshold(atOnce, "2026-06-22T00:00:00Z", [{ threshold: 0.7 }])).toBe(0.7);
});

test("marks of time are local midnights or round hours, and few", () => {
  for (const length of [3 * HOUR, DAY, 5 * DAY, 30 * DAY, 900 * DAY]) {
    const marks = timeMarks(NOW - length, NOW);
    expect(marks.length).toBeLessThanOrEqual(7);
    expect(marks.length).toBeGreaterThan(0);
    for (const at of marks) expect(new Date(at).getMinutes()).toBe(0);
    if (length > 10 * DAY) for (const at of marks) expect(new Date(at).getHours()).toBe(0);
  }
});

test("a score holds until the next", () => {
  const scores = [
    { at: 10, risk: 0.1 },
    { at: 20, risk: 0.2 },
  ];

  expect([5, 10, 19, 25].map((at) => holding(scores, at)?.risk ?? null)).toEqual([
    null,
    0.1,
    0.1,
    0.2,
  ]);
});
