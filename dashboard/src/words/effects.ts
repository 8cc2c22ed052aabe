/** What a holdout shows, in words that claim no more than it does. */
import type { RuleEffect } from "../api/alertQueries.ts";
import { count, number } from "./numbers.ts";

const one = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });

/** A difference of shares in percentage points: +3.2 points. */
export function points(difference: number): string {
  const text = one.format(Math.abs(difference * 100));
  return `${text === "0.0" ? "" : difference < 0 ? "−" : "+"}${text} points`;
}

export const share = (value: number | null): string =>
  value === null ? "–" : `${one.format(value * 100)}%`;

export const VERDICT_HEADINGS: Readonly<Record<RuleEffect["verdict"], string>> = {
  "not yet known": "Not yet known",
  "alerts help": "Alerts help",
  "alerts harm": "Alerts harm",
};

/** Why nothing is known yet, or what the interval says. */
export function verdictWords(effect: RuleEffect): string {
  if (effect.interval === null || effect.difference === null) {
    if (effect.treated.users + effect.control.users === 0)
      return `Of ${count(effect.waiting, "user")} nobody's outcome is known yet: it takes the model's horizon.`;
    return effect.control.users === 0
      ? "Nobody was held out whose outcome is known, so nobody can tell who would have come back anyway."
      : "Of nobody told about is the outcome known.";
  }
  const { low, high } = effect.interval;
  const range = `${points(low)} to ${points(high)}, ${level(effect.confidence)} interval`;
  if (effect.verdict === "not yet known") return `The interval includes zero (${range}).`;
  return `Retention ${points(effect.difference)} (${range}).`;
}

const oneAtMost = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

/** A confidence: 95 %, 99.2 %. Never rounded up to certainty. */
export const level = (confidence: number): string =>
  `${oneAtMost.format(Math.min(confidence * 100, 99.9))} %`;

/** Why several rules have wider intervals than one; null where there is one. */
export function widened(effects: readonly RuleEffect[]): string | null {
  const [together, ...rules] = effects;
  const each = rules[0];
  if (together === undefined || each === undefined || rules.length < 2) return null;
  return (
    `${number(effects.length)} answers side by side: the more there are, the sooner chance makes one of them look like ` +
    `an effect. So each interval is drawn wider, at ${level(together.confidence)} for all rules together and at ` +
    `${level(each.confidence)} for each rule. If alerts did nothing, about 19 of 20 such pages would say “not yet ` +
    "known” throughout."
  );
}

/** How far it is to an answer; null where nobody can say. */
export function wait(effect: RuleEffect): string | null {
  if (effect.alerts_needed === null) return null;
  const needed = `To show a rise of ${one.format(effect.planned_lift * 100)} points takes ${count(effect.alerts_needed, "user")}`;
  if (effect.days_needed === null) return `${needed}; at present nobody joins.`;
  if (effect.days_needed === 0) return `${needed}: there are as many.`;
  return `${needed}: about ${count(Math.ceil(effect.days_needed), "more day")} at ${number(effect.alerts_per_day)} a day.`;
}

/** The ends of the scale all intervals are drawn on, about zero, in steps of five points. */
export function scaleOf(effects: readonly RuleEffect[]): number {
  const ends = effects.flatMap(({ interval }) =>
    interval === null ? [] : [Math.abs(interval.low), Math.abs(interval.high)],
  );
  return Math.min(1, Math.max(0.05, Math.ceil(Math.max(0, ...ends) * 20) / 20));
}
