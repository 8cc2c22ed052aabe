import { expect, test } from "vitest";
import type { SystemPage, TopicLag, Worker } from "../api/machine.ts";
import { doing, lagSaid, lasting, timerSaid, troubles, workerSaid } from "./machine.ts";

const worker: Worker = {
  id: "scorer-a-1",
  service: "scorer",
  host: "a",
  pid: 1,
  version: "1",
  since: "2026-01-01T00:00:00Z",
  state: "ready",
  seconds_ago: 1,
  reasons: {},
  partitions: 2,
  totals: { events: 10 },
  rates: { events: 12.25, scores: 3, refused: 0 },
};
const topic: TopicLag = {
  topic: "activity-event",
  service: "scorer",
  ledger: "activity-event",
  lag: 0,
  exists: true,
  partitions: [],
};
const timers = {
  kind: "silence" as const,
  waiting: 4,
  earliest: null,
  overdue_seconds: 0,
  partition: null,
};
const ok = {
  state: "ok",
  seconds: 0.001,
  version: null,
  memory_bytes: null,
  memory_limit_bytes: null,
};
const healthy: SystemPage = {
  as_of: "2026-01-01T00:00:00Z",
  clock: "wall",
  model: "m",
  kafka: ok,
  redis: ok,
  workers: [worker],
  missing: [],
  topics: [topic],
  rates: {},
  newest_event: null,
  newest_score: null,
  timers: [timers],
  dead_letters: [],
  troubles: [],
};
const partition = {
  partition: 3,
  watermark: 5,
  end: 9,
  lag: 4,
  worker: null,
  stage: null,
  still_seconds: null,
  newest: null,
  refusal: null,
  held: "2:77",
};

test("a healthy machine needs nobody", () => {
  expect(troubles(healthy)).toEqual([]);
});

test("what is away comes before what follows from it", () => {
  const found = troubles({
    ...healthy,
    kafka: { ...ok, state: "no answer within 3.5 s" },
    missing: ["alerts", "history"],
    topics: [{ ...topic, lag: 1_000, partitions: [partition] }],
    timers: [{ ...timers, overdue_seconds: 7200 }],
    workers: [
      { ...worker, state: "silent", seconds_ago: 40 },
      { ...worker, state: "waiting", reasons: { redis: "it is away" } },
    ],
  });

  expect(found.map(({ what }) => what)).toEqual([
    "Kafka is away",
    "activity-event waits for a person",
    "No alerts, no history",
    "scorer-a-1 is silent",
    "scorer-a-1 waits",
    "scorer is behind",
    "Silence timers are late",
  ]);
  expect(found.at(-1)?.why).toBe("The oldest by 2 h.");
  expect(found[1]?.why).toContain("3 at 2:77");
});

test("what is not known is not said to be nothing", () => {
  expect(lagSaid({ ...topic, lag: null })).toBe("not known");
  expect(lagSaid({ ...topic, lag: null, partitions: [partition] })).toBe("not known in full");
  expect(lagSaid({ ...topic, lag: null, exists: false })).toBe("no such topic yet");
  expect(lagSaid({ ...topic, lag: 1 })).toBe("1 record unread");
  expect(lagSaid(topic)).toBe("nothing unread");
});

test("a worker says what it does, and why it does not", () => {
  expect(doing(worker)).toBe("12.3 events/s, 3 scores/s");
  expect(workerSaid({ ...worker, state: "waiting", reasons: { a: "one", b: "two" } })).toBe(
    "one; two",
  );
});

test("timers are late once a sweep should have had them", () => {
  expect(timerSaid({ ...timers, waiting: 0 })).toBe("none waiting");
  expect(timerSaid({ ...timers, overdue_seconds: 4 })).toBe("none overdue");
  expect(timerSaid({ ...timers, overdue_seconds: 400 })).toBe("overdue by 6.67 min");
});

test("lengths are told in a unit that fits", () => {
  expect([4.21, 600, 7200, 400_000].map(lasting)).toEqual(["4.21 s", "10 min", "2 h", "4.63 days"]);
});
