import { expect, test } from "vitest";
import { threshold } from "./threshold.ts";

const rung = (level: number, alerts: number) => ({
  level,
  alerts,
  precision: 0.4,
  in_time: 0.75,
  lead_days: 6.5,
  per_1000_a_day: 19.4,
});

const choice = {
  level: 0.28,
  because: "best balance",
  churn_episodes: 431,
  sessions: 8029,
  rungs: [rung(0.28, 526), rung(0.7, 129), rung(0.9, 0)],
};

test("the model's own threshold says what it is worth, and others are set beside it", () => {
  const told = threshold({ alert_threshold: 0.28, alert_choice: choice });
  expect(told.says).toContain("at a risk of 28%: 75% of those who churned");
  expect(told.says).toContain("40% of the alerts would have been right");
  expect(told.why).toContain("The model's own: best balance.");
  expect(told.rungs.map(({ level }) => level)).toEqual([0.7, 0.28]);
});

test("one that was set says so, and what the model would have it", () => {
  const told = threshold({ alert_threshold: 0.7, alert_choice: choice });
  expect(told.says).toContain("at a risk of 70%");
  expect(told.why).toContain("Set by hand; the model's own is 28%");
});

test("a model that states none says so", () => {
  const told = threshold({ alert_threshold: 0.7, alert_choice: null });
  expect(told.says).toBe("Alerts open at a risk of 70%.");
  expect(told.why).toContain("no threshold of its own");
  expect(told.rungs).toEqual([]);
});
