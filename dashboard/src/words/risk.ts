/** What a probability means for how it is shown. */

export type Tone = "calm" | "raised" | "high";

/**
 * High once the alert threshold is reached, raised from the model's cut-off on, whichever of the two
 * is the lower. The gateway tells the threshold as the moment it is reached, so it is a moment that
 * is compared.
 */
export function tone(
  probability: number,
  atRiskAt: string | null,
  now: number,
  cutoff: number,
): Tone {
  if (atRiskAt !== null && Date.parse(atRiskAt) <= now) return "high";
  return probability < cutoff ? "calm" : "raised";
}

export const logOdds = (probability: number): number => Math.log(probability / (1 - probability));

export const fromLogOdds = (odds: number): number => 1 / (1 + Math.exp(-odds));

/** The origin of a model that has seen no real user. */
export const SIMULATOR = "simulator";
