// What rows of figures, and what folds away, are to those who do not see them.
import { cleanup, fireEvent, render, screen } from "@testing-library/react";
import { afterEach, expect, test } from "vitest";
import { Fold } from "./Fold.tsx";
import { Bar, Table, type Column } from "./Table.tsx";

afterEach(cleanup);

interface Check {
  readonly month: string;
  readonly off: number;
}

const COLUMNS: readonly Column<Check>[] = [
  { name: "Month", as: "row", of: ({ month }) => month },
  { name: "Off", as: "number", of: ({ off }) => off, isBad: ({ off }) => off > 5 },
  { name: "", as: "meter", of: ({ off }) => <Bar to={off / 10} /> },
];

test("a row is named by its first cell, and a bar is a column with a name and no content", () => {
  render(<Table columns={COLUMNS} rows={[{ month: "May", off: 2 }]} />);

  expect(screen.getAllByRole("columnheader").map((cell) => cell.textContent)).toEqual([
    "Month",
    "Off",
    "As a bar",
  ]);
  expect(screen.getByRole("rowheader").textContent).toBe("May");
  expect(screen.getAllByRole("cell").map((cell) => cell.textContent)).toEqual(["2", ""]);
});

test("only what is bad news is marked as such", () => {
  render(
    <Table
      columns={COLUMNS}
      rows={[
        { month: "May", off: 2 },
        { month: "June", off: 7 },
      ]}
    />,
  );

  expect([...document.querySelectorAll(".bad")].map((cell) => cell.textContent)).toEqual(["7"]);
});

test("what is folded away is made when it is opened, by click or by the browser", () => {
  render(<Fold summary="More">all of it</Fold>);
  expect(screen.queryByText("all of it")).toBeNull();

  fireEvent.click(screen.getByText("More"));
  expect(screen.getByText("all of it")).toBeDefined();

  const details = document.querySelector("details");
  if (details === null) throw new Error("no details");
  details.open = false;
  fireEvent(details, new Event("toggle"));
  expect(screen.queryByText("all of it")).toBeNull();

  details.open = true;
  fireEvent(details, new Event("toggle"));
  expect(screen.getByText("all of it")).toBeDefined();
});
