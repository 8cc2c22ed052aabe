/** Sends a delivery again, and watches it until something has come of it. */
import { queryOptions, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { sentAgain, type SentAgain } from "../words/deliveries.ts";
import { resend, type Delivery } from "./alertQueries.ts";
import { body, gateway } from "./client.ts";

const LOOK_MS = 700;
export const PATIENCE_MS = 20_000;

/** What is known of it, and the delivery as it is. */
export type Again =
  | { state: "none" }
  | { state: "sending" }
  | { state: "refused"; reason: string }
  | { state: SentAgain; row: Delivery }
  /** It waits for longer than it should: the delivery worker may be away. */
  | { state: "unseen"; row: Delivery };

const deliveryQuery = (id: string) =>
  queryOptions({
    queryKey: ["delivery", id],
    queryFn: async ({ signal }) =>
      (await body(gateway.GET("/deliveries", { params: { query: { id } }, signal }))).deliveries[0],
  });

/** `row` is the delivery as the list shows it. */
export function useSendAgain(row: Delivery): { send: () => void; again: Again } {
  const queries = useQueryClient();
  const [before, setBefore] = useState<Delivery | null>(null);
  const [isLate, setIsLate] = useState(false);
  const { mutate, data, error } = useMutation({
    mutationFn: () => resend(row.id),
    onSuccess: () => queries.invalidateQueries({ queryKey: ["alerts", "deliveries"] }),
  });
  const isAccepted = before !== null && data !== undefined;
  const { data: now } = useQuery({
    ...deliveryQuery(row.id),
    enabled: isAccepted,
    staleTime: 0,
    refetchInterval: ({ state }) =>
      before !== null && sentAgain(before, state.data) === "under way" ? LOOK_MS : false,
  });
  const state = before === null ? null : sentAgain(before, now);
  const isOver = state !== null && state !== "under way";
  useEffect(() => {
    if (!isAccepted || isOver) return;
    const late = setTimeout(() => setIsLate(true), PATIENCE_MS);
    return () => clearTimeout(late);
  }, [isAccepted, isOver]);
  // Counts and the other lists show it, too.
  useEffect(() => {
    if (isOver) void queries.invalidateQueries({ queryKey: ["alerts", "deliveries"] });
  }, [isOver, queries]);
  const current = later(now, row);
  const send = () => {
    setBefore(current);
    setIsLate(false);
    mutate();
  };
  return { send, again: told() };

  function told(): Again {
    if (before === null || state === null) return { state: "none" };
    if (error !== null) return { state: "refused", reason: error.message };
    const word = data?.deliveries[row.id];
    if (data === undefined) return { state: "sending" };
    if (word !== undefined && !word.startsWith("will be sent"))
      return { state: "refused", reason: word };
    return state === "under way" && isLate
      ? { state: "unseen", row: current }
      : { state, row: current };
  }
}

/** The list and the watch are asked at different moments. */
const later = (now: Delivery | undefined, row: Delivery): Delivery =>
  now !== undefined && Date.parse(now.updated) > Date.parse(row.updated) ? now : row;
