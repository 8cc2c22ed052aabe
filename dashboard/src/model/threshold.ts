/** The threshold of the default alert rule, in words. */
import type { Model as ModelAnswer } from "../api/client.ts";
import { number, percent } from "../words/numbers.ts";

type Choice = NonNullable<ModelAnswer["alert_choice"]>;
export type Rung = Choice["rungs"][number];

/** What alerts open at, what that is worth, where it comes from, and all rungs, the highest first. */
export function threshold(model: Pick<ModelAnswer, "alert_threshold" | "alert_choice">): {
  says: string;
  why: string;
  rungs: readonly Rung[];
} {
  const { alert_threshold: at, alert_choice: choice } = model;
  const opens = `Alerts open at a risk of ${percent(at)}`;
  if (choice === null)
    return {
      says: `${opens}.`,
      why: "The model states no threshold of its own: it was trained by an earlier release, on labels from a file, or on too few users who churned. A policy may say otherwise.",
      rungs: [],
    };
  const rungs = choice.rungs.filter(({ alerts }) => alerts > 0).toReversed();
  const here = rungs.find(({ level }) => level === at);
  const worth =
    here === undefined || here.in_time === null || here.precision === null
      ? ""
      : `: ${percent(here.in_time)} of those who churned would have been told of in time, and ${percent(here.precision)} of the alerts would have been right`;
  const told = `On the validation periods, ${number(choice.sessions)} silences, ${number(choice.churn_episodes)} of them churn.`;
  const why =
    choice.level === at
      ? `The model's own: ${choice.because}.`
      : `Set by hand; the model's own is ${percent(choice.level)}.`;
  return { says: `${opens}${worth}.`, why: `${why} ${told} A policy may say otherwise.`, rungs };
}
