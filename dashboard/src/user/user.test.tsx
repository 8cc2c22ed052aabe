// What people see of an episode and of a command, as they would find it.
import { cleanup, fireEvent, render, screen } from "@testing-library/react";
import { afterEach, expect, test } from "vitest";
import type { Day, UserEpisode } from "../api/client.ts";
import { DayBars, DaysTable } from "../charts/DayBars.tsx";
import { CommandOutcome } from "../parts/CommandOutcome.tsx";
import { lifeOf } from "./lives.ts";

afterEach(cleanup);

const alert = (alert_id: string, kind: string) => ({ alert_id, kind });
const told = (alert_id: string, channel: string) => ({ alert_id, channel, state: "sent" });

test("each transition is followed by whom it was told to, and nothing told is left out", () => {
  const episode = {
    alerts: [alert("b", "acknowledged"), alert("a", "opened")],
    deliveries: [told("a", "crm"), told("gone", "mail"), told("a", "slack")],
  } as unknown as UserEpisode;

  expect(
    lifeOf(episode).map((step) =>
      step.kind === "alert" ? step.alert.kind : `${step.told.alert_id} ${step.told.channel}`,
    ),
  ).toEqual(["acknowledged", "opened", "a crm", "a slack", "gone mail"]);
});

test("what was sent is not called done", () => {
  const words = (progress: Parameters<typeof CommandOutcome>[0]["progress"]) => {
    const { container, unmount } = render(<CommandOutcome progress={progress} />);
    const text = container.textContent;
    unmount();
    return text;
  };

  expect(words({ state: "none" })).toBe("");
  expect(words({ state: "waiting" })).toBe("Sent, not done yet…");
  expect(words({ state: "done", command: { kind: "acknowledge" } })).toBe("Taken on");
  expect(words({ state: "unseen", command: { kind: "snooze", hours: 4 } })).toMatch(
    /^Sent, but nothing has come of it/,
  );
  expect(words({ state: "failed", reason: "Kafka is away" })).toBe("Not sent: Kafka is away");
});

const day = (number: number, more: Partial<Day> = {}): Day => ({
  day: `2026-06-${String(number).padStart(2, "0")}`,
  is_active: false,
  sessions: 0,
  pages: 0,
  minutes: 0,
  ...more,
});

test("the days are a picture with a name, and a table with the latest day first", () => {
  const days = [day(1, { is_active: true, sessions: 2, pages: 7, minutes: 1.5 }), day(2)];
  render(
    <>
      <DayBars days={days} measure="pages" />
      <DaysTable days={days} />
    </>,
  );

  expect(screen.getByRole("img").getAttribute("aria-label")).toMatch(/^pages on each of/);
  const numbers = (row: HTMLElement) =>
    [...row.querySelectorAll("td")].map((cell) => cell.textContent);
  fireEvent.click(screen.getByText("As a table"));
  expect(screen.getAllByRole("row", { hidden: true }).map(numbers)).toEqual([
    [],
    ["0", "0", "0"],
    ["2", "7", "1.5"],
  ]);
});

test("days without anything are drawn as nothing, not as a scale of one", () => {
  const { container } = render(<DayBars days={[day(1), day(2)]} measure="visits" />);

  expect(container.querySelector(".most")).toBeNull();
});
