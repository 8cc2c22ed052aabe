import { expect, test } from "vitest";
import type { Alert, UserEpisode } from "./client.ts";
import { hasHappened } from "./commands.ts";

function episode(
  alerts: readonly (readonly [string, Alert["kind"]])[],
  verdict: UserEpisode["verdict"] = null,
): UserEpisode {
  return {
    dedup_key: "k",
    alerts: alerts.map(([alert_id, kind]) => ({ alert_id, kind })),
    verdict,
  } as unknown as UserEpisode;
}

function said(verdict: "helped" | "wrong", at: string): UserEpisode["verdict"] {
  return { user_id: "ada", dedup_key: "k", rule: "default", verdict, note: "", actor: "", at };
}

test("an acknowledgement has happened when a new transition says so", () => {
  const before = episode([["1", "opened"]]);
  const after = episode([
    ["2", "acknowledged"],
    ["1", "opened"],
  ]);

  expect(hasHappened({ kind: "acknowledge" }, before, before)).toBe(false);
  expect(hasHappened({ kind: "acknowledge" }, before, after)).toBe(true);
  // It had been acknowledged already: what was there before is no answer.
  expect(hasHappened({ kind: "acknowledge" }, after, after)).toBe(false);
  expect(hasHappened({ kind: "snooze", hours: 1 }, before, after)).toBe(false);
  expect(hasHappened({ kind: "acknowledge" }, before, undefined)).toBe(false);
});

test("a verdict has happened when it stands, also when it is the one that stood before", () => {
  const helped = { kind: "verdict", verdict: "helped", note: "" } as const;
  const none = episode([]);
  const first = episode([], said("helped", "2026-01-01T00:00:00Z"));
  const again = episode([], said("helped", "2026-01-02T00:00:00Z"));
  const other = episode([], said("wrong", "2026-01-02T00:00:00Z"));

  expect(hasHappened(helped, none, none)).toBe(false);
  expect(hasHappened(helped, none, first)).toBe(true);
  expect(hasHappened(helped, first, first)).toBe(false);
  expect(hasHappened(helped, first, again)).toBe(true);
  expect(hasHappened(helped, first, other)).toBe(false);
});
