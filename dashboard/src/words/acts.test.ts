import { expect, test } from "vitest";
import { outcome, told } from "./acts.ts";

test("an act is told in words, with whom it was about", () => {
  expect(told({ action: "DELETE /users/{user_id}", target: "/users/a/b<i>" })).toEqual({
    what: "erased a user",
    whom: "a/b<i>",
  });
  expect(told({ action: "POST /alerts/{alert_id}/snooze", target: "/alerts/5f0c/snooze" })).toEqual(
    { what: "put an alert off", whom: "5f0c" },
  );
  expect(told({ action: "login", target: "/session" })).toEqual({ what: "logged in", whom: "" });
  expect(told({ action: "POST /storm/release", target: "/storm/release" }).whom).toBe("");
});

test("an act without words is told as it was asked", () => {
  expect(told({ action: "PUT /x/{y}", target: "/x/1" })).toEqual({
    what: "PUT /x/{y}",
    whom: "/x/1",
  });
});

test("an outcome says whether it was done", () => {
  expect(outcome(202)).toEqual({ words: "done", good: true });
  expect([403, 404, 422, 503].map((status) => outcome(status).good)).toEqual([
    false,
    false,
    false,
    false,
  ]);
});
