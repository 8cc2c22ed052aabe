/** Deliveries in words. */
import type { Delivery, DeliveryState, DeliveryList } from "../api/alertQueries.ts";

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
