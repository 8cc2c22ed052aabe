/** The life of an episode in words. */
import type { Alert, UserEpisode } from "../api/client.ts";

export type Told = UserEpisode["deliveries"][number];

export const STATE_WORDS: Readonly<Record<UserEpisode["state"], string>> = {
  open: "Open",
  acknowledged: "Taken on",
  snoozed: "Put off",
  resolved: "Came back",
  churned: "Has left",
};

/** Before the channel's name. */
export const DELIVERY_WORDS: Readonly<Record<Told["state"], string>> = {
  waiting: "Waits for",
  held: "Held by the storm guard, for",
  digest: "Waits for the digest of",
  sent: "Told to",
  dead: "Could not be told to",
  control: "Held out, not told to",
  refused: "Not wanted by",
  overtaken: "They came back before it was told to",
  discarded: "Discarded by a person, not told to",
  digested: "Told in a digest to",
};

export const VERDICT_WORDS: Readonly<
  Record<NonNullable<UserEpisode["verdict"]>["verdict"], string>
> = {
  helped: "It helped",
  wrong: "It was wrong",
  duplicate: "It said nothing new",
};

export type Step =
  | { readonly kind: "alert"; readonly alert: Alert }
  | { readonly kind: "told"; readonly told: Told };

/** Its transitions, the latest first, each followed by what became of it on each channel. */
export function lifeOf(episode: UserEpisode): Step[] {
  const known = new Set(episode.alerts.map(({ alert_id }) => alert_id));
  const steps: Step[] = [];
  for (const alert of episode.alerts) {
    steps.push({ kind: "alert", alert });
    for (const told of episode.deliveries) {
      if (told.alert_id === alert.alert_id) steps.push({ kind: "told", told });
    }
  }
  // Of alerts that are not kept any more.
  for (const told of episode.deliveries) {
    if (!known.has(told.alert_id)) steps.push({ kind: "told", told });
  }
  return steps;
}
