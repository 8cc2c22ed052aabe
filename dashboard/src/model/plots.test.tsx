// What those find who do not see the plots.
import { cleanup, fireEvent, render, screen, within } from "@testing-library/react";
import { afterEach, expect, test } from "vitest";
import { LiftPlot, ReliabilityPlot, SpreadPlot } from "./Plots.tsx";

afterEach(cleanup);

function cells() {
  fireEvent.click(screen.getByText("As a table"));
  const [, ...rows] = screen.getAllByRole("row", { hidden: true });
  return rows.map((row) => [...row.children].map((cell) => cell.textContent));
}

test("calibration is a table of what was predicted and what happened", () => {
  render(
    <ReliabilityPlot
      reliability={{
        rows: 300,
        ece: 0.01,
        floor: 0.02,
        bins: [
          { rows: 100, predicted: 0.2, churned: 0.25, low: 0.18, high: 0.34 },
          { rows: 200, predicted: 0.7, churned: 0.66, low: 0.6, high: 0.72 },
        ],
      }}
    />,
  );

  expect(screen.getByRole("img").getAttribute("aria-label")).toContain("the table below");
  expect(cells()).toEqual([
    ["20%", "25%", "18% to 34%", "100"],
    ["70%", "66%", "60% to 72%", "200"],
  ]);
});

test("lift says what contacting some of the users reaches", () => {
  render(
    <LiftPlot
      lift={[
        { contacted: 0.1, reached: 0.3, lift: 3 },
        { contacted: 1, reached: 1, lift: 1 },
      ]}
    />,
  );

  expect(cells().map(([, reached, lift]) => [reached, lift])).toEqual([
    ["30%", "3×"],
    ["all", "1×"],
  ]);
});

test("a spread tells of every bin, also of what is not known", () => {
  render(
    <SpreadPlot
      label="money"
      training={{ cuts: [5], rows: [50, 50], missing: 0 }}
      live={{ cuts: [5], rows: [10, 20], missing: 10 }}
    />,
  );

  expect(within(screen.getByRole("img")).getAllByText(/in training/)).toHaveLength(3);
  expect(cells()).toEqual([
    ["below 5", "50%", "25%"],
    ["5 and more", "50%", "50%"],
    ["unknown", "<0.1%", "25%"],
  ]);
});
