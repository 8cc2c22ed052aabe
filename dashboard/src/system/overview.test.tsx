// What is said of the machine when parts of it cannot be known.
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { cleanup, fireEvent, render, screen } from "@testing-library/react";
import type { ReactNode } from "react";
import { afterEach, expect, test } from "vitest";
import type { SystemPage } from "../api/machine.ts";
import { Dependencies, Lag, Timers, Workers } from "./Overview.tsx";

afterEach(cleanup);

const unknown = {
  state: "ok",
  seconds: 0.0012,
  version: null,
  memory_bytes: null,
  memory_limit_bytes: null,
};
const page: SystemPage = {
  as_of: "2026-01-01T00:00:00Z",
  clock: "wall",
  model: "lr-1",
  kafka: { ...unknown, state: "no answer within 3.5 s", seconds: null },
  redis: { ...unknown, version: "Valkey 9.1", memory_bytes: 5 * 2 ** 20 },
  workers: null,
  missing: [],
  topics: [
    {
      topic: "activity-event",
      service: "scorer",
      ledger: "activity-event",
      lag: null,
      exists: null,
      partitions: [
        {
          partition: 0,
          watermark: 40,
          end: null,
          lag: null,
          worker: null,
          stage: null,
          still_seconds: null,
          newest: null,
          refusal: null,
          held: "2:40",
        },
      ],
    },
  ],
  rates: {},
  newest_event: null,
  newest_score: null,
  timers: null,
  dead_letters: null,
  troubles: [],
};

function show(part: ReactNode) {
  const queries = new QueryClient({ defaultOptions: { queries: { enabled: false } } });
  render(<QueryClientProvider client={queries}>{part}</QueryClientProvider>);
}

test("a dependency that is away says why, and one that answers how fast", () => {
  show(<Dependencies page={page} />);
  const said = screen.getAllByRole("listitem").map((item) => item.textContent);

  expect(said[1]).toContain("Kafkano answer within 3.5 s");
  expect(said[2]).toContain("Redisok in 1.2 msValkey 9.1 · 5 MiB used");
});

test("workers and timers that cannot be read are not known rather than none", () => {
  show(
    <>
      <Workers page={page} />
      <Timers page={page} />
    </>,
  );

  expect(screen.getAllByRole("heading", { name: "Not known" })).toHaveLength(2);
});

test("a lag that is not known is a question mark, and who waits for a person says so", () => {
  show(<Lag page={page} />);
  fireEvent.click(screen.getByText("activity-event"));

  expect(screen.getByText("not known in full")).toBeDefined();
  expect(screen.getByText("waits for a person at 2:40")).toBeDefined();
  expect(screen.getAllByText("?")).toHaveLength(2);
});
