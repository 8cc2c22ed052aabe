/** Sending dead letters back, and letting held partitions go on. */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { body, gateway, type Schemas } from "./client.ts";
import { systemQuery, type SystemPage } from "./machine.ts";

export type ReplayOrder = Schemas["ReplayOrder"];
export type ReplayAnswer = Schemas["ReplayAnswer"];
export type AcceptOrder = Schemas["AcceptOrder"];

/** What became of letters that were sent back, over all requests that took. */
export interface Sent {
  readonly wentBack: number;
  readonly stay: number;
  readonly staying: ReplayAnswer["staying"];
  readonly readWhen: ReplayAnswer["read_when"];
}

const NOTHING: Sent = { wentBack: 0, stay: 0, staying: [], readWhen: [] };

export const ask = (order: ReplayOrder) => body(gateway.POST("/dead-letters/replay", { body: order }));

/** One after the other until nothing is left; `tell` hears how far it is. */
export async function sendAll(
  order: ReplayOrder,
  tell: (sent: Sent) => void,
  send: (order: ReplayOrder) => Promise<ReplayAnswer> = ask,
): Promise<Sent> {
  let sent = NOTHING;
  for (;;) {
    const answer = await send({ ...order, dry_run: false });
    const known = new Map(sent.readWhen.map((each) => [each.partition, each]));
    for (const each of answer.read_when) known.set(each.partition, each);
    sent = {
      wentBack: sent.wentBack + answer.went_back,
      // Those that stay are looked at again by each request.
      stay: answer.stay,
      staying: answer.staying,
      readWhen: [...known.values()],
    };
    tell(sent);
    if (!answer.more || answer.went_back === 0) return sent;
  }
}

/** Whether the reader of the topic is through with what went back; null: not known. */
export function isRead(page: SystemPage, topic: string, sent: Sent): boolean | null {
  if (sent.readWhen.length === 0) return null;
  const reader = page.topics.find((each) => each.topic === topic && each.ledger === topic);
  if (reader === undefined) return null;
  const marks = new Map(reader.partitions.map((each) => [each.partition, each.watermark]));
  return sent.readWhen.every(({ partition, offset }) => (marks.get(partition) ?? 0) >= offset);
}

/** The same, asked for until it is so. */
export function useIsRead(topic: string, sent: Sent | null): boolean | null {
  const waits = sent !== null && sent.readWhen.length > 0;
  const { data } = useQuery({
    ...systemQuery,
    enabled: waits,
    refetchInterval: ({ state }) =>
      state.data !== undefined && waits && isRead(state.data.page, topic, sent) === true
        ? 5_000
        : 1_000,
  });
  return data === undefined || sent === null ? null : isRead(data.page, topic, sent);
}

export function useAccept() {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (order: AcceptOrder) => body(gateway.POST("/dead-letters/accept", { body: order })),
    onSettled: () => queries.invalidateQueries({ queryKey: ["system"] }),
  });
}
