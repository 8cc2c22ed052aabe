import { expect, test } from "vitest";
import { ahead } from "./ahead.ts";

const at = (day: number) => new Date(Date.UTC(2026, 0, 1 + day)).toISOString();
const ms = (day: number) => Date.UTC(2026, 0, 1 + day);

test("rungs that silence does not reach are left out, and of those reached at once the highest stays", () => {
  const points = ahead([
    { level: 0.1, at: at(1) },
    { level: 0.2, at: at(1) },
    { level: 0.5, at: at(4) },
    { level: 0.9, at: null },
  ]);

  expect(points).toEqual([
    { at: ms(1), risk: 0.2 },
    { at: ms(4), risk: 0.5 },
  ]);
});
