/** Deliveries in words. */
import type { Delivery, DeliveryState, DeliveryList } from "../api/alertQueries.ts";
import type { Again } from "../api/sendAgain.ts";
import { KIND_WORDS } from "./alerts.ts";

export const DELIVERY_STATE_WORDS: Readonly<Record<DeliveryState, string>> = {
  dead: "Failed",
  waiting: "Waits",
  held: "Held by the storm guard",
  digest: "For the next digest",
  sent: "Told",
  digested: "Told in a digest",
  refused: "Not wanted by the channel",
  control: "Held out",
  overtaken: "Overtaken: they came back",
  discarded: "Discarded",
};

export const DELIVERY_STATE_SHORT: Readonly<Record<DeliveryState, string>> = {
  dead: "Failed",
  waiting: "Waiting",
  held: "Held",
  digest: "For digest",
  sent: "Told",
  digested: "In digest",
  refused: "Refused",
  control: "Held out",
  overtaken: "Overtaken",
  discarded: "Discarded",
};

/** What became of a delivery; an attempt under way is neither waiting nor told. */
export function became({ state, under_way }: Delivery): string {
  return under_way ? "Being told" : DELIVERY_STATE_WORDS[state];
}

export type Tone = "bad" | "good" | "waits" | "aside";

export function deliveryTone(state: DeliveryState): Tone {
  switch (state) {
    case "dead":
      return "bad";
    case "sent":
    case "digested":
      return "good";
    case "waiting":
    case "held":
    case "digest":
      return "waits";
    default:
      return "aside";
  }
}

/** Whether sending it again says anything: not while an attempt is made, never of the held-out. */
export const mayResend = ({ state, under_way }: Delivery): boolean =>
  !under_way && state !== "control";

/** What came of sending again, from the delivery as it was then and as it is. */
export type SentAgain = "under way" | "told" | "failed" | "later" | "dropped";

/**
 * Whoever sends again makes the delivery wait, with one attempt (`runtime/resend.py`); an answer
 * of before that, or none, says nothing of it.
 */
export function sentAgain(before: Delivery, now: Delivery | undefined): SentAgain {
  if (now === undefined || now.updated === before.updated || now.under_way) return "under way";
  switch (now.state) {
    case "sent":
    case "digested":
      return "told";
    case "dead":
      return "failed";
    case "waiting":
      return now.attempts > 1 ? "later" : "under way";
    case "held":
    case "digest":
      return "under way";
    default:
      return "dropped";
  }
}

/** What is said of sending again; the delivery's own state stands beside it. */
export function againWords(again: Again): string {
  switch (again.state) {
    case "none":
      return "";
    case "sending":
      return "Asking…";
    case "under way":
      return "Being sent again…";
    case "told":
      return "Sent again: it was told";
    case "failed":
      return "Sent again: it failed again";
    case "later":
      return "Sent again: it failed, and is tried again by itself";
    case "dropped":
      return "Not sent";
    case "refused":
      return `Not sent: ${again.reason}`;
    case "unseen":
      return "Nothing has come of it yet. The delivery worker may be away.";
  }
}

/** A list's rows, with those that somebody clicked where and as they stood then if they are gone. */
export function staying(
  rows: readonly Delivery[],
  clicked: ReadonlyMap<string, Delivery>,
): Delivery[] {
  const listed = new Set(rows.map(({ id }) => id));
  const gone = [...clicked.values()].filter(({ id }) => !listed.has(id));
  const place = (row: Delivery) => Date.parse((clicked.get(row.id) ?? row).updated);
  return clicked.size === 0
    ? [...rows]
    : [...rows, ...gone].sort((one, other) => place(other) - place(one));
}

/** What is told, in a word or two. */
export const about = ({ kind, label }: Delivery): string =>
  kind === "alert" && label in KIND_WORDS
    ? KIND_WORDS[label as keyof typeof KIND_WORDS].toLowerCase()
    : label;

/** Counts by channel, and the states that occur at all, in the order in which states are shown. */
export function table(
  counts: DeliveryList["counts"],
  order: readonly DeliveryState[],
): { states: DeliveryState[]; channels: [string, Map<DeliveryState, number>][] } {
  const channels = new Map<string, Map<DeliveryState, number>>();
  const seen = new Set<DeliveryState>();
  for (const { channel, state, count } of counts) {
    const ofChannel = channels.get(channel) ?? new Map<DeliveryState, number>();
    ofChannel.set(state, count);
    channels.set(channel, ofChannel);
    seen.add(state);
  }
  return {
    states: order.filter((state) => seen.has(state)),
    channels: [...channels].sort(([a], [b]) => a.localeCompare(b)),
  };
}

export const failed = (counts: DeliveryList["counts"]): number =>
  counts.reduce((sum, { state, count }) => (state === "dead" ? sum + count : sum), 0);
