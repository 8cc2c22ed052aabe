import { expect, test } from "vitest";
import type { RankedUser, RankedUsers } from "../api/client.ts";
import {
  asked,
  exportAddress,
  gather,
  leftOut,
  narrowing,
  PER_PAGE,
  reach,
  rise,
  shown,
} from "./ranking.ts";

const user = (user_id: string): RankedUser => ({
  user_id,
  churn_probability: 0.5,
  change: 0,
  last_seen_at: null,
  at_risk_at: null,
  reason: null,
  monthly_value: 0,
  value_at_risk: 0,
  attributes: { location: null, referral_source: null, device_type: null, plan: null, value: 0 },
  evidence: { events: 1, active_days: 1, usual_gap_hours: null, missing: [] },
  little_evidence: false,
  cancelled: false,
  lapsed: false,
  open_alert: null,
});

const answer = (ids: string[], next: string | null, walked = 100): RankedUsers => ({
  users: ids.map(user),
  exact: null,
  next,
  looked: { walked, read: walked, down_to: 0.64, complete: next === null },
  ranked: 1_000,
  left_out: { cancelled: 0, little_evidence: 0, lapsed: 0 },
  order: "risk",
  as_of: "2026-01-01T00:00:00Z",
  origin: "a test",
});

test("what the address says is what is asked, for the page and for the table to take along", () => {
  const search = { q: "a&b", order: "value", seen: 7, plan: "pro", cancelled: "only" } as const;

  expect(asked(search)).toEqual({
    search: "a&b",
    order: "value",
    silent_days_max: 7,
    plan: ["pro"],
    cancelled: "only",
  });
  expect(exportAddress({ ...search, after: "cursor" })).toBe(
    "/users.csv?order=value&search=a%26b&silent_days_max=7&cancelled=only&plan=pro",
  );
  expect(exportAddress({})).toBe("/users.csv");
});

test("a page that found few goes on looking, and stops when it is full", async () => {
  const cursors: (string | undefined)[] = [];
  const ask = async (cursor: string | undefined, limit: number) => {
    cursors.push(cursor);
    return answer(
      Array.from({ length: Math.min(limit, 10) }, (_, i) => `u${cursors.length}-${i}`),
      `c${cursors.length}`,
    );
  };

  const page = await gather(ask, "begin");

  expect(cursors).toEqual(["begin", "c1", "c2"]);
  expect(page.users.length).toBe(PER_PAGE);
  expect([page.next, page.walked]).toEqual(["c3", 300]);
  expect(reach(page, {})).toBeNull();
});

test("one that finds nobody gives up after some requests, and says how far it came", async () => {
  let requests = 0;
  const page = await gather(async () => answer([], `c${(requests += 1)}`), undefined);

  expect(requests).toBe(5);
  expect(reach(page, {})).toBe("Looked through 500 of 1,000 users, down to a risk of 64%.");
  expect(reach(page, { order: "value" })).toContain("0.64 a month at risk");
});

test("one that has seen everybody has nothing to excuse", async () => {
  const page = await gather(async () => answer(["ada"], null), undefined);

  expect([page.next, reach(page, {})]).toEqual([null, null]);
});

test("the very user searched for comes first, and once", () => {
  const users = [user("ada lovelace"), user("ada")];

  expect(shown({ users, exact: user("ada") }).map(({ user_id }) => user_id)).toEqual([
    "ada",
    "ada lovelace",
  ]);
});

test("who is left out is said, and nobody is nothing", () => {
  expect(leftOut({ cancelled: 1204, little_evidence: 3, lapsed: 0 })).toBe(
    "Left out: 1,204 who have cancelled and 3 with little evidence.",
  );
  expect(leftOut({ cancelled: 1, little_evidence: 2, lapsed: 3 })).toBe(
    "Left out: 1 who have cancelled, 2 with little evidence and 3 who have lapsed.",
  );
  expect(leftOut({ cancelled: 0, little_evidence: 0, lapsed: 0 })).toBeNull();
});

test("a rise is told in points", () => {
  expect([0, 0.001, 0.01, 0.32].map(rise)).toEqual(["—", "—", "+1 point", "+32 points"]);
});

test("a span of risk is one filter", () => {
  expect(
    [{}, { q: "a", order: "value" } as const, { min_risk: 0.3, max_risk: 0.5, plan: "pro" }].map(
      narrowing,
    ),
  ).toEqual([0, 0, 2]);
});
