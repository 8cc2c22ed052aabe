import { expect, test } from "vitest";
import { curl, request, SEED } from "./pages/totals.ts";
import {
  alertsSearch,
  atRiskSearch,
  modelSearch,
  systemPartOf,
  systemSearch,
  userSearch,
} from "./search.ts";

test("an address holds what was chosen, and nothing that is the default or no choice", () => {
  const chosen = { q: "ada", order: "value", min_risk: 0.3, max_risk: 0.5, seen: 7, plan: "pro" };
  expect(atRiskSearch({ ...chosen, cancelled: "only", after: "Y3" })).toEqual({
    ...chosen,
    cancelled: "only",
    after: "Y3",
  });
  expect(atRiskSearch({ q: "", order: "risk", min_risk: 0, cancelled: "exclude" })).toEqual({});
  expect(atRiskSearch({ lapsed: "include" })).toEqual({ lapsed: "include" });
  expect(atRiskSearch({ lapsed: "exclude" })).toEqual({});
  expect(
    atRiskSearch({ q: { evil: 1 }, order: "up", max_risk: "x", seen: -1, min_risk: 7, more: 1 }),
  ).toEqual({});
  expect(atRiskSearch({ min_risk: 0.5, max_risk: 0.5 })).toEqual({ min_risk: 0.5 });
  expect(alertsSearch({ kind: "opened" })).toEqual({ kind: "opened" });
  expect(alertsSearch({ kind: "sideways" })).toEqual({});
});

test("what is shown of a user is in the address", () => {
  expect(userSearch({ id: "ada", span: "week", by: "visits" })).toEqual({
    id: "ada",
    span: "week",
    by: "visits",
  });
  expect(userSearch({ id: "ada", span: "month", by: "pages" })).toEqual({ id: "ada" });
  expect(userSearch({ id: "ada", span: "year", by: 3 })).toEqual({ id: "ada" });
});

test("which part of the Model and of the System page is shown is in the address", () => {
  expect(modelSearch({ part: "inputs", order: "drift", all: true })).toEqual({
    part: "inputs",
    order: "drift",
    all: true,
  });
  expect(modelSearch({ part: "quality", moments: "all", order: "up", all: "yes" })).toEqual({});
  expect(systemPartOf(systemSearch({}))).toBe("machine");
  expect(systemPartOf(systemSearch({ part: "requests", reason: "x" }))).toBe("requests");
  // An address from before there were parts.
  expect(systemPartOf(systemSearch({ reason: "not JSON" }))).toBe("letters");
});

test("an id that looks like a number is text all the same", () => {
  expect([userSearch({ id: 42 }), userSearch({ id: true }), userSearch({})]).toEqual([
    { id: "42" },
    { id: "true" },
    {},
  ]);
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
