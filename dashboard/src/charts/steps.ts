/** A score taken apart into steps that add up, in log-odds. */
import type { Explanation } from "../api/client.ts";
import { logOdds } from "../words/risk.ts";

export interface Step {
  readonly text: string;
  readonly contribution: number;
  /** Log-odds before and after. */
  readonly from: number;
  readonly to: number;
}

/** Largest first, as the gateway orders them; the last `to` is the log-odds of the score. */
export function steps({ base, reasons }: Explanation): Step[] {
  let at = base;
  return reasons.map(({ text, contribution }) => {
    const from = at;
    at += contribution;
    return { text, contribution, from, to: at };
  });
}

/** Log-odds the parts come to. */
export const sum = ({ base, reasons }: Explanation): number =>
  reasons.reduce((odds, { contribution }) => odds + contribution, base);

const COARSE = [0.001, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99, 0.999];
const FINE = [0.002, 0.005, 0.02, 0.1, 0.3, 0.4, 0.6, 0.7, 0.9, 0.98, 0.995, 0.998];

/** Probabilities to mark on an axis of log-odds from `low` to `high`, none too near another. */
export function marks(low: number, high: number): number[] {
  const apart = (high - low) / 8;
  const chosen: number[] = [];
  for (const probability of [...COARSE, ...FINE]) {
    const odds = logOdds(probability);
    const free = chosen.every((other) => Math.abs(logOdds(other) - odds) >= apart);
    if (odds >= low && odds <= high && free) chosen.push(probability);
  }
  return chosen.sort((a, b) => a - b);
}
