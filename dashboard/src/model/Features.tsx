/** What the model reads, what each of it does to a score, and how it has drifted. */
import { Link } from "@tanstack/react-router";
import { memo } from "react";
import type { DriftRow, FeatureEffect, Quality } from "../api/machine.ts";
import { Fold } from "../parts/Fold.tsx";
import { Panel } from "../parts/Page.tsx";
import { Bar, Table, type Column } from "../parts/Table.tsx";
import { count, signed } from "../words/numbers.ts";
import { Key, Said } from "./Drift.tsx";
import { Options } from "./Options.tsx";
import { SpreadPlot } from "./Plots.tsx";
import {
  binNames,
  CONCEPTS,
  FEATURE_ORDERS,
  featureRows,
  range,
  type Feature,
  type FeatureOrder,
  type FeatureRow,
} from "./quality.ts";

const KINDS: Readonly<Record<string, string>> = {
  frozen: "stays as it was at the last event",
  fading: "never rises",
  recency: "never falls",
};

const ORDER_NAMES: Readonly<Record<FeatureOrder, string>> = {
  effect: "What moves scores most",
  drift: "What has drifted most",
  name: "Name",
};

const CONCEPT_COLUMNS = (most: number): readonly Column<Quality["concepts"][number]>[] => [
  { name: "What is known", as: "row", of: ({ concept }) => CONCEPTS[concept] ?? concept },
  { name: "Moves", as: "number", of: ({ moves }) => moves.toFixed(2) },
  { name: "", as: "meter", of: ({ moves }) => <Bar to={moves / most} /> },
  { name: "Saves", as: "number", of: ({ saves }) => saves.toFixed(4) },
];

export const Concepts = memo(function Concepts({ concepts }: { concepts: Quality["concepts"] }) {
  const most = Math.max(...concepts.map(({ moves }) => moves), 0.01);
  return (
    <Panel
      title="What moves scores"
      note="How far each kind of knowledge moves a score, on average, in log-odds: 0.7 doubles or halves the odds of churning. What it saves is the log loss a plain model would lose without it; what others can stand in for costs little."
    >
      {concepts.length === 0 ? (
        <p>The chosen model is no sum of parts.</p>
      ) : (
        <Table columns={CONCEPT_COLUMNS(most)} rows={concepts} className="concepts" />
      )}
    </Panel>
  );
});

/** As many as are read at a glance; the others move scores, or have drifted, less than these. */
const AT_FIRST = 10;

export const Features = memo(function Features({
  features,
  effects,
  drift,
  order,
  all,
}: {
  features: readonly Feature[];
  effects: readonly FeatureEffect[];
  drift: readonly DriftRow[];
  order: FeatureOrder;
  all: boolean;
}) {
  const rows = featureRows(features, effects, drift, order);
  const most = Math.max(...rows.map(({ effect }) => effect?.moves ?? 0), 0.01);
  const shown = all ? rows : rows.slice(0, AT_FIRST);
  return (
    <Panel
      title="What it reads"
      className="full"
      note={`${count(features.length, "feature")} of one record per user. Open one for what it is, where it counts, and how users are spread.`}
    >
      <Options
        label="Order of the features"
        field="order"
        options={FEATURE_ORDERS}
        name={(each) => ORDER_NAMES[each]}
        chosen={order}
      />
      <ul className="features">
        {shown.map((row) => (
          <li key={row.feature.name}>
            <One row={row} most={most} />
          </li>
        ))}
      </ul>
      {rows.length > AT_FIRST && (
        <p className="more">
          <Link
            from="/model"
            to="/model"
            search={({ all: _, ...before }) => (all ? before : { ...before, all: true })}
            replace
            resetScroll={false}
            className="step"
          >
            {all ? `The first ${AT_FIRST} only` : `All ${count(rows.length, "feature")}`}
          </Link>
        </p>
      )}
    </Panel>
  );
});

const One = memo(function One({
  row: { feature, effect, drift },
  most,
}: {
  row: FeatureRow;
  most: number;
}) {
  const name = feature.name.replaceAll("_", " ");
  return (
    <Fold
      summary={
        <>
          <span className="name">{name}</span>
          <span className="unit">{feature.unit}</span>
          <span className="moves">
            {effect !== null && effect.moves !== null && (
              <>
                <Bar to={effect.moves / most} />
                <span>
                  {effect.moves.toFixed(2)}
                  <span className="unseen"> log-odds on average</span>
                </span>
              </>
            )}
          </span>
          <span className="said">{drift !== null && <Said row={drift} />}</span>
        </>
      }
    >
      <div className="halves">
        <dl className="about">
          <dt>What it is</dt>
          <dd>{feature.definition}</dd>
          <dt>Why it is read</dt>
          <dd>{feature.why}</dd>
          <dt>Range</dt>
          <dd>
            {range(feature)} {feature.unit === "yes or no" ? "" : feature.unit}
          </dd>
          <dt>In silence it</dt>
          <dd>{KINDS[feature.kind] ?? feature.kind}</dd>
          <dt>More of it</dt>
          <dd>{direction(feature.direction)}</dd>
        </dl>
        <div>
          {effect !== null && effect.moves !== null && (
            <ByBin effect={effect} unit={feature.unit} />
          )}
          {drift !== null && (
            <>
              <SpreadPlot
                training={drift.training}
                live={drift.live}
                label={`${name}, in training and now`}
              />
              <Key />
            </>
          )}
        </div>
      </div>
    </Fold>
  );
});

interface Addition {
  readonly name: string;
  readonly adds: number | null;
}

const raises = ({ adds }: Addition) => adds !== null && adds > 0;

/** What values of a feature add to log-odds, from low to high. */
function ByBin({ effect, unit }: { effect: FeatureEffect; unit: string }) {
  const rows: readonly Addition[] = [
    ...binNames(effect.spread.cuts).map((name, i) => ({ name, adds: effect.by_bin[i] ?? null })),
    ...(effect.when_missing === null ? [] : [{ name: "unknown", adds: effect.when_missing }]),
  ];
  const most = Math.max(...rows.map(({ adds }) => Math.abs(adds ?? 0)), 0.01);
  const columns: readonly Column<Addition>[] = [
    {
      name: unit === "yes or no" ? "Value" : `Value, ${unit}`,
      as: "row",
      of: ({ name }) => name,
    },
    {
      name: <abbr title="Mean of what it adds to the log-odds of churning">Adds</abbr>,
      as: "number",
      of: ({ adds }) => (adds === null ? "not seen" : signed(adds)),
    },
    {
      name: "",
      as: "meter",
      of: ({ adds }) => {
        const end = 0.5 + (adds ?? 0) / most / 2;
        return (
          <Bar from={Math.min(end, 0.5)} to={Math.max(end, 0.5)}>
            <line x1="50%" x2="50%" y1="0" y2="100%" className="tick" />
          </Bar>
        );
      },
    },
  ];
  return (
    <Table
      columns={columns}
      rows={rows}
      className="by-bin"
      rowClass={(row) => (raises(row) ? "raises" : "lowers")}
    />
  );
}

function direction(sign: number): string {
  return sign > 0
    ? "never lowers the risk"
    : sign < 0
      ? "never raises the risk"
      : "may raise or lower the risk";
}
