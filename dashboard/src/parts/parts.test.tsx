// What people see of an explanation and of a failure, as they would find it.
import { cleanup, render, screen, within } from "@testing-library/react";
import { afterEach, expect, test } from "vitest";
import { Refused } from "../api/client.ts";
import { ReasonBars } from "../charts/ReasonBars.tsx";
import { Failure, Loading } from "./States.tsx";

afterEach(cleanup);

test("an explanation is a table whose rows are read without seeing the bars", () => {
  render(
    <ReasonBars
      explanation={{
        base: -1,
        reasons: [
          { concept: "recency", contribution: 2, text: "no visit for 9 days" },
          { concept: "money", contribution: -0.5, text: "bought <b>much</b>" },
        ],
      }}
    />,
  );
  const rows = screen.getAllByRole("row");

  expect(rows.map((row) => within(row).queryByRole("rowheader")?.textContent)).toEqual([
    undefined,
    "Before anything is known",
    "no visit for 9 days",
    "bought <b>much</b>",
    "Together",
  ]);
  expect(rows[2]?.textContent).toContain("27% to 73%");
  expect(rows[3]?.textContent).toContain("−0.50");
  expect(rows[4]?.textContent).toContain("62%");
});

test("a failure says what the gateway said", () => {
  render(
    <Failure error={new Refused(503, "Users cannot be read now", "Redis, 127.0.0.1: away")} />,
  );

  expect(screen.getByRole("alert").textContent).toBe(
    "Users cannot be read nowRedis, 127.0.0.1: away",
  );
});

test("loading is said to those who do not see it", () => {
  render(<Loading />);

  expect(screen.getByRole("status").textContent).toBe("Loading");
});
