/** What is worth a person's attention on the machine, and how it is said. */
import type { SystemPage, TimerState, TopicLag, Worker } from "../api/machine.ts";
import { count, number } from "../words/numbers.ts";

export type Health = "ok" | "away" | "waiting";

export interface Trouble {
  readonly what: string;
  readonly why: string;
}

/** A timer may be late by a sweep; by more than this it is. */
export const LATE_SECONDS = 5;
/** Records that are unread for a moment are no lag. */
export const LONG_LAG = 1_000;

/** Everything that is not as it should be, the worst first. */
export function troubles(page: SystemPage): Trouble[] {
  const found: Trouble[] = [];
  const add = (what: string, why: string) => void found.push({ what, why });
  if (page.kafka.state !== "ok") add("Kafka is away", page.kafka.state);
  if (page.redis.state !== "ok") add("Redis is away", page.redis.state);
  for (const { topic, partitions } of page.topics) {
    const held = partitions.filter((each) => each.held !== null);
    if (held.length > 0) {
      const which = held.map(({ partition, held: at }) => `${partition} at ${at}`).join(", ");
      add(
        `${topic} waits for a person`,
        `A long run of bad records stopped partition ${which}: see the dead letters, then let it go on.`,
      );
    }
  }
  if (page.missing.length > 0) {
    add(
      `No ${page.missing.join(", no ")}`,
      "Nobody of that kind was heard of for 15 minutes, or ever.",
    );
  }
  for (const worker of page.workers ?? []) {
    if (worker.state === "silent")
      add(`${worker.id} is silent`, `Nothing heard for ${number(worker.seconds_ago)} s.`);
    else if (worker.state === "waiting")
      add(`${worker.id} waits`, Object.values(worker.reasons).join("; "));
  }
  for (const topic of page.topics) {
    if (topic.lag !== null && topic.lag >= LONG_LAG)
      add(`${topic.service} is behind`, `${count(topic.lag, "record")} of ${topic.topic} unread.`);
  }
  for (const timers of page.timers ?? []) {
    if (timers.overdue_seconds > LATE_SECONDS)
      add(
        `${timers.kind === "silence" ? "Silence" : "Alert"} timers are late`,
        `The oldest by ${lasting(timers.overdue_seconds)}.`,
      );
  }
  return found;
}

/** The worst of what a reader's partitions are in. */
export function lagSaid({ lag, exists, partitions }: TopicLag): string {
  if (exists === false) return "no such topic yet";
  if (lag === null) return partitions.length === 0 ? "not known" : "not known in full";
  return lag === 0 ? "nothing unread" : `${count(lag, "record")} unread`;
}

export function workerSaid(worker: Worker): string {
  if (worker.state === "silent") return `silent for ${lasting(worker.seconds_ago)}`;
  if (worker.state === "waiting") return Object.values(worker.reasons).join("; ");
  return "ready";
}

export const workerHealth = ({ state }: Worker): Health =>
  state === "ready" ? "ok" : state === "waiting" ? "waiting" : "away";

export function timerSaid(timers: TimerState): string {
  if (timers.waiting === 0) return "none waiting";
  if (timers.overdue_seconds <= LATE_SECONDS) return "none overdue";
  return `overdue by ${lasting(timers.overdue_seconds)}`;
}

/** 4.2 s, 12 min, 3.5 h, 2 days. */
export function lasting(seconds: number): string {
  if (seconds < 90) return `${number(seconds)} s`;
  if (seconds < 90 * 60) return `${number(seconds / 60)} min`;
  return seconds < 36 * 3600 ? `${number(seconds / 3600)} h` : `${number(seconds / 86_400)} days`;
}

/** What a worker does, of all it counts: the rates that its service is there for. */
const DOES: Readonly<Record<string, readonly string[]>> = {
  scorer: ["events", "scores"],
  alerts: ["records", "alerts"],
  delivery: ["records", "deliveries"],
};

export function doing(worker: Worker): string {
  const names = DOES[worker.service] ?? ["records"];
  const said = names
    .filter((name) => worker.rates[name] !== undefined)
    .map((name) => `${number(worker.rates[name] ?? 0)} ${name}/s`);
  return said.join(", ");
}
