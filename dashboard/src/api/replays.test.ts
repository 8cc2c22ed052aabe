import { expect, test } from "vitest";
import type { SystemPage } from "./machine.ts";
import { isRead, sendAll, type ReplayAnswer, type Sent } from "./replays.ts";

const answer = (went_back: number, more: boolean, offset: number): ReplayAnswer => ({
  topic: "activity-event",
  dry_run: false,
  went_back,
  stay: 1,
  staying: [{ id: "0:1", why: "odd" }],
  more,
  read_when: [{ partition: 2, offset }],
});

test("letters are sent until there are no more, and those that stay count once", async () => {
  const answers = [answer(480, true, 500), answer(20, false, 520)];
  const told: number[] = [];
  const sent = await sendAll(
    { all: true, dry_run: true },
    ({ wentBack }) => told.push(wentBack),
    (order) => {
      expect(order.dry_run).toBe(false);
      return Promise.resolve(answers.shift() as ReplayAnswer);
    },
  );
  expect(told).toEqual([480, 500]);
  expect(sent).toMatchObject({ stay: 1, readWhen: [{ partition: 2, offset: 520 }] });
});

test("where nothing goes although there is more, it ends", async () => {
  const sent = await sendAll({ all: true }, () => undefined, () => Promise.resolve(answer(0, true, 1)));
  expect(sent.wentBack).toBe(0);
});

test("what went back was read when its reader's watermarks are there", () => {
  const sent: Sent = { wentBack: 1, stay: 0, staying: [], readWhen: [{ partition: 2, offset: 9 }] };
  const page = (watermark: number | null) =>
    ({
      topics: [
        { topic: "activity-event", ledger: "activity-event.timeline", partitions: [] },
        { topic: "activity-event", ledger: "activity-event", partitions: [{ partition: 2, watermark }] },
      ],
    }) as unknown as SystemPage;
  expect(isRead(page(8), "activity-event", sent)).toBe(false);
  expect(isRead(page(null), "activity-event", sent)).toBe(false);
  expect(isRead(page(9), "activity-event", sent)).toBe(true);
  expect(isRead(page(9), "churn-score", sent)).toBe(null);
});
