import { expect, test } from "vitest";
import { together } from "../alerts/together.ts";
import type { Delivery, RuleEffect } from "../api/alertQueries.ts";
import type { Alert } from "../api/client.ts";
import { alertsSearch, DELIVERY_STATES, tabOf } from "../search.ts";
import { became, failed, mayResend, sentAgain, staying, table } from "./deliveries.ts";
import { level, points, scaleOf, verdictWords, wait, widened } from "./effects.ts";

const alert = (alert_id: string, minute: number, more: Partial<Alert> = {}): Alert =>
  ({
    alert_id,
    occurred_at: `2026-03-01T10:${String(minute).padStart(2, "0")}:00Z`,
    kind: "opened",
    rule: "default",
    user_id: "ada",
    arm: "treated",
    severity: "warning",
    ...more,
  }) as Alert;

const effect = (more: Partial<RuleEffect>): RuleEffect => ({
  rule: null,
  verdict: "not yet known",
  treated: { users: 0, retained: 0, retention: null },
  control: { users: 0, retained: 0, retention: null },
  waiting: 0,
  difference: null,
  interval: null,
  confidence: 0.95,
  smallest: null,
  planned_lift: 0.05,
  alerts_needed: null,
  alerts_per_day: 0,
  days_needed: null,
  ...more,
});

const known = { users: 100, retained: 40, retention: 0.4 };

test("live alerts and pages are one list, each alert once, newest first", () => {
  const live = [alert("c", 3), alert("b", 2), alert("x", 5, { kind: "resolved" })];
  const pages = [alert("b", 2), alert("a", 1)];

  expect(together(live, pages, { kind: "opened" }).map(({ alert_id }) => alert_id)).toEqual([
    "c",
    "b",
    "a",
  ]);
});

test("of alerts of one moment the order is that of the gateway's pages", () => {
  expect(
    together([alert("a", 1), alert("c", 1)], [alert("b", 1)], {}).map(({ alert_id }) => alert_id),
  ).toEqual(["c", "b", "a"]);
});

test("an address that asks for a kind of alert shows what was, any other what is open", () => {
  expect(tabOf(alertsSearch({ kind: "opened" }))).toBe("history");
  expect(tabOf(alertsSearch({}))).toBe("open");
  expect(tabOf(alertsSearch({ tab: "effect", kind: "opened" }))).toBe("effect");
  expect(tabOf(alertsSearch({ tab: "<script>" }))).toBe("open");
});

test("a filter that is none counts for nothing", () => {
  expect(
    alertsSearch({ delivery: "lost", severity: "loud", arm: "treated", user: 42, state: "gone" }),
  ).toEqual({ user: "42" });
  expect(alertsSearch({ delivery: "dead", verdict: "wrong", channel: "crm" })).toEqual({
    delivery: "dead",
    verdict: "wrong",
    channel: "crm",
  });
});

test("deliveries are counted by channel, failures before all others", () => {
  const counts = [
    { channel: "team", state: "sent", count: 7 },
    { channel: "crm", state: "sent", count: 5 },
    { channel: "crm", state: "dead", count: 2 },
  ] as const;

  const { states, channels } = table([...counts], DELIVERY_STATES);

  expect(states).toEqual(["dead", "sent"]);
  expect(channels.map(([name, of]) => [name, of.get("dead") ?? 0, of.get("sent")])).toEqual([
    ["crm", 2, 5],
    ["team", 0, 7],
  ]);
  expect(failed([...counts])).toBe(2);
});

test("an attempt under way is not called waiting, and the held-out are never sent again", () => {
  const waiting = { state: "waiting", under_way: true } as Delivery;

  expect(became(waiting)).toBe("Being told");
  expect(
    [waiting, { state: "control" }, { state: "dead" }].map((d) => mayResend(d as Delivery)),
  ).toEqual([false, false, true]);
});

const row = (more: Partial<Delivery>): Delivery =>
  ({
    id: "a:team",
    state: "dead",
    attempts: 1,
    under_way: false,
    updated: "2026-03-01T10:00:00Z",
    ...more,
  }) as Delivery;

test("what came of sending again is told by what the delivery became after it", () => {
  const before = row({});
  const since = (more: Partial<Delivery>) =>
    sentAgain(before, row({ updated: "2026-03-01T10:00:05.2Z", ...more }));

  expect(sentAgain(before, undefined)).toBe("under way");
  expect(sentAgain(before, before)).toBe("under way");
  expect(since({ state: "waiting" })).toBe("under way");
  expect(since({ state: "waiting", attempts: 2, under_way: true })).toBe("under way");
  expect(since({ state: "waiting", attempts: 2 })).toBe("later");
  expect(since({ state: "sent", attempts: 2 })).toBe("told");
  expect(since({ attempts: 2 })).toBe("failed");
  expect(since({ state: "overtaken" })).toBe("dropped");
});

test("what was sent again stays where it was clicked", () => {
  const [a, b, c] = [3, 2, 1].map((minute) =>
    row({ id: `${minute}`, updated: `2026-03-01T10:0${minute}:00Z` }),
  );
  const told = { ...b!, state: "sent", updated: "2026-03-01T10:09:00Z" } as Delivery;
  const clicked = new Map([[b!.id, b!]]);
  const ids = (rows: readonly Delivery[]) => rows.map(({ id }) => id);

  expect(ids(staying([a!, c!], clicked))).toEqual(["3", "2", "1"]);
  expect(staying([told, a!, c!], clicked)).toEqual([a, told, c]);
  expect(staying([told, a!], new Map())).toEqual([told, a]);
});

test("nothing is claimed while the interval includes zero, nor where an arm is empty", () => {
  expect(verdictWords(effect({ waiting: 3 }))).toMatch(/nobody's outcome is known yet/);
  expect(verdictWords(effect({ treated: known }))).toMatch(/Nobody was held out/);
  expect(
    verdictWords(
      effect({
        treated: known,
        control: known,
        difference: 0.02,
        interval: { low: -0.03, high: 0.07 },
      }),
    ),
  ).toBe("The interval includes zero (−3.0 points to +7.0 points, 95 % interval).");
  expect(
    verdictWords(
      effect({
        verdict: "alerts help",
        treated: known,
        control: known,
        difference: 0.05,
        interval: { low: 0.01, high: 0.09 },
      }),
    ),
  ).toBe("Retention +5.0 points (+1.0 points to +9.0 points, 95 % interval).");
});

test("several rules are said to be looked at together, and at which confidence each is", () => {
  const one = [effect({}), effect({ rule: "a" })];
  const three = [
    effect({ confidence: 0.975 }),
    ...["a", "b", "c"].map((rule) => effect({ rule, confidence: 1 - 0.025 / 3 })),
  ];

  expect(widened([])).toBeNull();
  expect(widened(one)).toBeNull();
  expect(widened(three)).toMatch(/at 97.5 % for all rules together and at 99.2 % for each rule/);
  expect(level(0.99999)).toBe("99.9 %");
  expect(
    verdictWords({
      ...three[1]!,
      treated: known,
      control: known,
      difference: 0.02,
      interval: { low: -0.05, high: 0.09 },
    }),
  ).toMatch(/99.2 % interval/);
});

test("how long it takes is told in users and days, and that it never comes", () => {
  expect(wait(effect({}))).toBeNull();
  expect(wait(effect({ alerts_needed: 8400, days_needed: 12.2, alerts_per_day: 31 }))).toBe(
    "To show a rise of 5.0 points takes 8,400 users: about 13 more days at 31 a day.",
  );
  expect(wait(effect({ alerts_needed: 8400, days_needed: 0 }))).toMatch(/there are as many/);
  expect(wait(effect({ alerts_needed: 8400, days_needed: null }))).toMatch(/nobody joins/);
});

test("all intervals share a scale that holds the widest", () => {
  expect(scaleOf([])).toBe(0.05);
  expect(
    scaleOf([
      effect({ interval: { low: -0.12, high: 0.03 } }),
      effect({ interval: { low: 0.01, high: 0.02 } }),
    ]),
  ).toBe(0.15);
  expect([points(0.0001), points(-0.031)]).toEqual(["0.0 points", "−3.1 points"]);
});
