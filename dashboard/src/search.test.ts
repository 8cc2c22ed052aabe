import { expect, test } from "vitest";
import { sorted, shown } from "./pages/ranking.ts";
import { curl, request, SEED } from "./pages/totals.ts";
import { alertsSearch, atRiskSearch, userSearch } from "./search.ts";

test("an address holds what was chosen, and nothing that is the default or no choice", () => {
  expect(atRiskSearch({ q: "ada", sort: "seen", page: 3 })).toEqual({
    q: "ada",
    sort: "seen",
    page: 3,
  });
  expect(atRiskSearch({ q: "", sort: "risk", page: 1 })).toEqual({});
  expect(atRiskSearch({ q: { evil: 1 }, sort: "up", page: "x", more: 1 })).toEqual({});
  expect(alertsSearch({ kind: "opened" })).toEqual({ kind: "opened" });
  expect(alertsSearch({ kind: "sideways" })).toEqual({});
});

test("an id that looks like a number is text all the same", () => {
  expect([userSearch({ id: 42 }), userSearch({ id: true }), userSearch({})]).toEqual([
    { id: "42" },
    { id: "true" },
    {},
  ]);
});

const user = (user_id: string, last_seen_at: string | null) => ({
  user_id,
  churn_probability: 0.5,
  last_seen_at,
  at_risk_at: null,
});

test("users are found by part of their id, in whatever case", () => {
  const users = [user("Ada", null), user("grace", null)];

  expect(shown(users, "aD").map(({ user_id }) => user_id)).toEqual(["Ada"]);
  expect(shown(users, "")).toEqual(users);
});

test("sorted by a moment, the latest is first and who has none last, equals as they were", () => {
  const users = [
    user("a", null),
    user("b", "2026-01-01T00:00:00Z"),
    user("c", "2026-01-02T00:00:00Z"),
    user("d", null),
  ];

  expect(sorted(users, "seen").map(({ user_id }) => user_id)).toEqual(["c", "b", "a", "d"]);
  expect(sorted(users, "risk")).toEqual(users);
});

test("a form with a field that holds no number asks nothing", () => {
  expect(request(SEED)).toEqual({
    pages_visited: 12,
    time_spent: 180.5,
    days_since_signup: 10,
    is_logged_in: true,
  });
  expect(request({ ...SEED, time_spent: "" })).toBeNull();
  expect(request({ ...SEED, time_spent: "1e999" })).toBeNull();
});

test("a shell reads the command as it was meant", () => {
  const line = curl("http://h", {
    pages_visited: 1,
    time_spent: 2,
    days_since_signup: 3,
    is_logged_in: true,
    location: "l'aquila",
  });

  expect(line).toContain(`"location":"l'\\''aquila"`);
});
