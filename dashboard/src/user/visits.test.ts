import { expect, test } from "vitest";
import type { TimelineEvent } from "../api/client.ts";
import { MINUTE } from "../words/times.ts";
import { happenings, typeName, typesOf } from "./visits.ts";

const NOON = Date.UTC(2026, 5, 1, 12);

function did(minute: number, more: Partial<TimelineEvent> = {}): TimelineEvent {
  return {
    occurred_at: new Date(NOON + minute * MINUTE).toISOString(),
    type: "page_view",
    is_activity: true,
    pages: 1,
    minutes: 2,
    value: null,
    is_logged_in: null,
    ...more,
  };
}

test("half an hour without activity ends a visit, the latest comes first", () => {
  const found = happenings([did(61), did(30), did(0)]);

  expect(found.map(({ kind, from }) => [kind, (from - NOON) / MINUTE])).toEqual([
    ["visit", 61],
    ["visit", 0],
  ]);
  expect(found[1]).toMatchObject({ pages: 2, minutes: 4, value: null, to: NOON + 30 * MINUTE });
});

test("a mail is no visit, and ends none", () => {
  const mail = did(10, { type: "email_sent", is_activity: false, pages: 0, minutes: 0 });
  const found = happenings([did(20), mail, did(0)]);

  expect(found.map(({ kind }) => kind)).toEqual(["note", "visit"]);
  expect(found[1]).toMatchObject({ pages: 2 });
});

test("money of a visit is what was spent less what came back", () => {
  const [visit] = happenings([did(2, { value: -5 }), did(1), did(0, { value: 20 })]);

  expect(visit).toMatchObject({ value: 15 });
});

test("types are told once, in their order, in words", () => {
  expect(typesOf([did(0), did(1, { type: "purchase" }), did(2)])).toEqual([
    { type: "page_view", times: 2 },
    { type: "purchase", times: 1 },
  ]);
  expect(typeName("feature.export_csv")).toBe("feature export csv");
});
