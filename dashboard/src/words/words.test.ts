import { expect, test } from "vitest";
import { cell, csv } from "./csv.ts";
import { number, percent, seconds, signed } from "./numbers.ts";
import { fromLogOdds, logOdds, tone } from "./risk.ts";
import { DAY, HOUR, MINUTE, relative, span } from "./times.ts";

test("a probability never claims certainty", () => {
  expect(
    [0, 0.0004, 0.021, 0.0951, 0.1, 0.4567, 0.9, 0.91, 0.9983, 0.99991, 1].map(percent),
  ).toEqual([
    "<0.1%",
    "<0.1%",
    "2.1%",
    "9.5%",
    "10%",
    "46%",
    "90%",
    "91.0%",
    "99.8%",
    ">99.9%",
    ">99.9%",
  ]);
});

test("what adds nothing has no sign", () => {
  expect([1.234, -0.35, 0.001, -0.004].map(signed)).toEqual(["+1.23", "−0.35", "0.00", "0.00"]);
});

test("numbers have the digits that tell something", () => {
  expect([0.123, 1.5, 12.34, 123.4, 12345].map(number)).toEqual([
    "0.12",
    "1.5",
    "12.3",
    "123",
    "12,345",
  ]);
  expect([0.0005, 0.25, 2, Infinity].map(seconds)).toEqual([
    "0.5 ms",
    "250 ms",
    "2 s",
    "longer than 10 s",
  ]);
});

test("a moment is told in the largest unit that fits, on either side of now", () => {
  const now = Date.UTC(2026, 5, 1);

  expect(
    [-30 * 1000, -20 * MINUTE, -3 * HOUR, 2 * DAY, -90 * DAY, -800 * DAY].map((ahead) =>
      relative(now + ahead, now),
    ),
  ).toEqual([
    "just now",
    "20 minutes ago",
    "3 hours ago",
    "in 2 days",
    "3 months ago",
    "2 years ago",
  ]);
});

test("a length of time is told in days, hours or minutes", () => {
  expect([20 * MINUTE, MINUTE, 5 * HOUR, 9.96 * DAY].map(span)).toEqual([
    "20 minutes",
    "1 minute",
    "5 hours",
    "10 days",
  ]);
});

test("a spreadsheet is handed text, never a formula", () => {
  expect(cell('=HYPERLINK("http://x")')).toBe(`"'=HYPERLINK(""http://x"")"`);
  expect(["+1", "-1", "@a", "\tx"].map(cell)).toEqual(["'+1", "'-1", "'@a", "'\tx"]);
  expect(
    csv([
      ["a,b", 0.5, null],
      ["line\nbreak", -1, "plain"],
    ]),
  ).toBe('"a,b",0.5,\r\n"line\nbreak",-1,plain\r\n');
});

test("log-odds and back is where it began", () => {
  for (const probability of [0.001, 0.2, 0.5, 0.99]) {
    expect(fromLogOdds(logOdds(probability))).toBeCloseTo(probability, 12);
  }
});

test("high is who has reached the alert threshold, raised who is above the cut-off only", () => {
  const now = Date.parse("2026-01-10T00:00:00Z");

  expect(tone(0.4, null, now, 0.5)).toBe("calm");
  expect(tone(0.4, "2026-02-01T00:00:00Z", now, 0.5)).toBe("calm");
  expect(tone(0.4, "2026-01-01T00:00:00Z", now, 0.5)).toBe("high");
  expect(tone(0.6, "2026-02-01T00:00:00Z", now, 0.5)).toBe("raised");
  expect(tone(0.6, null, now, 0.5)).toBe("raised");
  expect(tone(0.8, "2026-01-01T00:00:00Z", now, 0.5)).toBe("high");
});
