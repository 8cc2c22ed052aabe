/** Plots of predictions against what happened. Each has its numbers in a table below. */
import { scaleLinear, scaleSqrt } from "@visx/scale";
import { LinePath } from "@visx/shape";
import { memo, type ReactNode } from "react";
import type { Quality, Reliability, Spread } from "../api/machine.ts";
import { Fold } from "../parts/Fold.tsx";
import { Table, type Column } from "../parts/Table.tsx";
import { number, percent } from "../words/numbers.ts";
import { binNames, shares } from "./quality.ts";

type Bin = Reliability["bins"][number];
type Stop = Quality["lift"][number];
type Pair = ReturnType<typeof pairsOf>[number];

const PARTS = [0, 0.25, 0.5, 0.75, 1];
const across = scaleLinear({ domain: [0, 1], range: [0, 100] });
const up = scaleLinear({ domain: [0, 1], range: [100, 0] });

/** A share against a share. `rows` are below it under `columns`. */
function Plotted<T>({
  label,
  bottom,
  side,
  rows,
  columns,
  children,
}: {
  label: string;
  bottom: string;
  side: string;
  rows: readonly T[];
  columns: readonly Column<T>[];
  children: ReactNode;
}) {
  return (
    <figure className="plotted">
      <svg className="plot" role="img" aria-label={`${label}; the table below has the numbers`}>
        {PARTS.map((part) => (
          <g key={part}>
            <line className="tick" x1="0" x2="100%" y1={`${up(part)}%`} y2={`${up(part)}%`} />
            <text x="-6" y={`${up(part)}%`} dy="0.32em" textAnchor="end">
              {`${part * 100}%`}
            </text>
            <text x={`${across(part)}%`} y="100%" dy="16" textAnchor="middle">
              {`${part * 100}%`}
            </text>
          </g>
        ))}
        <text x="50%" y="100%" dy="34" textAnchor="middle">
          {bottom}
        </text>
        <text className="side-title" x="6" y="0" dy="14">
          {side}
        </text>
        <line className="even" x1="0" y1="100%" x2="100%" y2="0" />
        {children}
      </svg>
      <figcaption>
        <Fold summary="As a table">
          <Table columns={columns} rows={rows} />
        </Fold>
      </figcaption>
    </figure>
  );
}

const BIN_COLUMNS: readonly Column<Bin>[] = [
  { name: "Predicted", as: "number", of: (bin) => percent(bin.predicted) },
  { name: "Churned", as: "number", of: (bin) => percent(bin.churned) },
  {
    name: "95% interval",
    as: "number",
    of: (bin) => `${percent(bin.low)} to ${percent(bin.high)}`,
  },
  { name: "Moments", as: "number", of: (bin) => number(bin.rows) },
];

export const ReliabilityPlot = memo(function ReliabilityPlot({
  reliability: { bins },
}: {
  reliability: Reliability;
}) {
  return (
    <Plotted
      label="What was predicted against the share that churned"
      bottom="predicted"
      side="churned"
      rows={bins}
      columns={BIN_COLUMNS}
    >
      {bins.map((bin, i) => (
        <g key={i} className="point">
          <title>
            {`${percent(bin.predicted)} predicted, ${percent(bin.churned)} of ${number(bin.rows)} churned (95%: ${percent(bin.low)} to ${percent(bin.high)})`}
          </title>
          <line
            x1={`${across(bin.predicted)}%`}
            x2={`${across(bin.predicted)}%`}
            y1={`${up(bin.low)}%`}
            y2={`${up(bin.high)}%`}
          />
          <circle cx={`${across(bin.predicted)}%`} cy={`${up(bin.churned)}%`} r="4.5" />
        </g>
      ))}
    </Plotted>
  );
});

const STOP_COLUMNS: readonly Column<Stop>[] = [
  { name: "Contacted", as: "number", of: (stop) => percent(stop.contacted) },
  {
    name: "Churners reached",
    as: "number",
    of: (stop) => (stop.reached === 1 ? "all" : percent(stop.reached)),
  },
  { name: "Lift", as: "number", of: (stop) => `${number(stop.lift)}×` },
];

export const LiftPlot = memo(function LiftPlot({ lift }: { lift: readonly Stop[] }) {
  return (
    <Plotted
      label="Churners reached by how many users are contacted, riskiest first"
      bottom="users contacted, riskiest first"
      side="churners reached"
      rows={lift}
      columns={STOP_COLUMNS}
    >
      <svg viewBox="0 0 100 100" preserveAspectRatio="none" width="100%" height="100%">
        <LinePath
          className="line"
          data={[{ contacted: 0, reached: 0 }, ...lift]}
          x={({ contacted }) => across(contacted)}
          y={({ reached }) => up(reached)}
        />
      </svg>
      {lift.map((stop) => (
        <circle
          key={stop.contacted}
          className="stop"
          cx={`${across(stop.contacted)}%`}
          cy={`${up(stop.reached)}%`}
          r="3.5"
        >
          <title>
            {`The riskiest ${percent(stop.contacted)} hold ${percent(stop.reached)} of those who churned`}
          </title>
        </circle>
      ))}
    </Plotted>
  );
});

const PAIR_COLUMNS: readonly Column<Pair>[] = [
  { name: "Value", as: "row", of: ({ name }) => name },
  { name: "In training", as: "number", of: ({ before }) => percent(before) },
  { name: "Now", as: "number", of: ({ now }) => percent(now) },
];

/** Two spreads side by side: training on the left of each pair, live on the right. */
export const SpreadPlot = memo(function SpreadPlot({
  training,
  live,
  label,
}: {
  training: Spread;
  live: Spread;
  label: string;
}) {
  const pairs = pairsOf(training, live);
  const highest = Math.max(...pairs.flatMap(({ before, now }) => [before, now]), 0.01);
  const y = scaleSqrt({ domain: [0, highest], range: [0, 100] });
  const width = 100 / pairs.length;
  const bar = (share: number, from: number) => ({
    x: `${from}%`,
    width: `${width * 0.36}%`,
    y: `${100 - y(share)}%`,
    height: `${y(share)}%`,
  });
  return (
    <figure className="spread">
      <svg className="plot" role="img" aria-label={`${label}; the table has the numbers`}>
        {pairs.map(({ name, before, now }, i) => (
          <g key={i}>
            <title>{`${name}: ${percent(before)} in training, ${percent(now)} now`}</title>
            <rect className="of-training" {...bar(before, width * (i + 0.12))} />
            <rect className="of-live" {...bar(now, width * (i + 0.52))} />
          </g>
        ))}
      </svg>
      <figcaption>
        <Fold summary="As a table">
          <Table columns={PAIR_COLUMNS} rows={pairs} />
        </Fold>
      </figcaption>
    </figure>
  );
});

function pairsOf(training: Spread, live: Spread) {
  const [before, now] = [shares(training), shares(live)];
  const unknown = before.missing > 0 || now.missing > 0;
  const names = [...binNames(training.cuts), ...(unknown ? ["unknown"] : [])];
  return names.map((name, i) => ({
    name,
    before: before.bins[i] ?? before.missing,
    now: now.bins[i] ?? now.missing,
  }));
}
