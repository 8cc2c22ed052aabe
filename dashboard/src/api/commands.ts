/** What a person says of an alert: sent, then watched until it has happened. */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import type { UserEpisode } from "./client.ts";
import { body, gateway } from "./client.ts";
import { userAlertsQuery } from "./queries.ts";

export type Verdict = NonNullable<UserEpisode["verdict"]>["verdict"];

export type Command =
  | { kind: "acknowledge" }
  | { kind: "snooze"; hours: number }
  | { kind: "verdict"; verdict: Verdict; note: string };

/** What is known of a command that was given. */
export type Progress =
  | { state: "none" }
  | { state: "sending" }
  /** Kafka has it; the alerts worker has not acted on it yet. */
  | { state: "waiting" }
  | { state: "done"; command: Command }
  /** It has not happened for a while: the worker may be away, or the episode over by then. */
  | { state: "unseen"; command: Command }
  | { state: "failed"; reason: string };

const LOOK_MS = 700;
export const PATIENCE_MS = 15_000;

/**
 * Whether an episode shows what was commanded. `before` is the episode as it was when the command
 * was given: a transition, or a verdict, that it had already proves nothing.
 */
export function hasHappened(
  command: Command,
  before: UserEpisode | undefined,
  after: UserEpisode | undefined,
): boolean {
  if (after === undefined) return false;
  if (command.kind === "verdict") {
    const [was, is] = [before?.verdict ?? null, after.verdict];
    return is !== null && is.verdict === command.verdict && is.at !== was?.at;
  }
  const kind = command.kind === "acknowledge" ? "acknowledged" : "snoozed";
  const known = new Set(before?.alerts.map(({ alert_id }) => alert_id));
  return after.alerts.some((alert) => alert.kind === kind && !known.has(alert.alert_id));
}

/** A key of its own for each click: the same said twice is meant twice. */
function newKey(): string {
  // `crypto.randomUUID` is there on loopback and behind TLS only.
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) =>
    byte.toString(16).padStart(2, "0"),
  ).join("");
}

function send(alert_id: string, command: Command) {
  const params = { path: { alert_id }, header: { "Idempotency-Key": newKey() } };
  switch (command.kind) {
    case "acknowledge":
      return body(gateway.POST("/alerts/{alert_id}/acknowledge", { params, body: {} }));
    case "snooze":
      return body(
        gateway.POST("/alerts/{alert_id}/snooze", { params, body: { hours: command.hours } }),
      );
    case "verdict":
      return body(
        gateway.POST("/alerts/{alert_id}/verdict", {
          params,
          body: { verdict: command.verdict, note: command.note },
        }),
      );
  }
}

/** Gives commands on an episode, and says what became of the last one. */
export function useAlertCommand(
  userId: string,
  dedupKey: string,
): { give: (command: Command) => void; progress: Progress } {
  const queries = useQueryClient();
  const [isLate, setLate] = useState(false);
  const [watched, setWatched] = useState<{
    command: Command;
    before: UserEpisode | undefined;
  } | null>(null);
  const sending = useMutation({
    mutationFn: async (command: Command) => {
      // Asked, not taken from what is on the page, which may be some seconds old.
      const before = await queries.fetchQuery({ ...userAlertsQuery(userId), staleTime: 0 });
      const found = before.episodes.find(({ dedup_key }) => dedup_key === dedupKey);
      await send(dedupKey, command);
      return { command, before: found };
    },
    onMutate: () => {
      setWatched(null);
      setLate(false);
    },
    onSuccess: setWatched,
  });
  const { data } = useQuery({
    ...userAlertsQuery(userId),
    enabled: watched !== null,
    refetchInterval: ({ state }) =>
      watched === null || isDone(state.data) || isLate ? false : LOOK_MS,
  });
  const done = isDone(data);

  useEffect(() => {
    if (watched === null || done) return undefined;
    const late = setTimeout(() => setLate(true), PATIENCE_MS);
    return () => clearTimeout(late);
  }, [watched, done]);

  useEffect(() => {
    // Lists of alerts know of it, too, before the live feed tells them.
    if (done) void queries.invalidateQueries({ queryKey: ["alerts"] });
  }, [done, queries]);

  return { give: sending.mutate, progress: progress() };

  function isDone(now: { episodes: UserEpisode[] } | undefined): boolean {
    if (watched === null) return false;
    const after = now?.episodes.find(({ dedup_key }) => dedup_key === dedupKey);
    return hasHappened(watched.command, watched.before, after);
  }

  function progress(): Progress {
    if (sending.isPending) return { state: "sending" };
    if (sending.error !== null) return { state: "failed", reason: sending.error.message };
    if (watched === null) return { state: "none" };
    if (done) return { state: "done", command: watched.command };
    return isLate ? { state: "unseen", command: watched.command } : { state: "waiting" };
  }
}
