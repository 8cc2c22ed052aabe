/** What the model reads, what each of it does to a score, and how it has drifted. */
import { Link } from "@tanstack/react-router";
import { scaleLinear } from "@visx/scale";
import type { DriftRow, FeatureEffect, Quality } from "../api/machine.ts";
import { Panel } from "../parts/Page.tsx";
import { count, signed } from "../words/numbers.ts";
import { Key, Said } from "./Drift.tsx";
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

export function Concepts({ concepts }: { concepts: Quality["concepts"] }) {
  const most = Math.max(...concepts.map(({ moves }) => moves), 0.01);
  const x = scaleLinear({ domain: [0, most], range: [0, 100] });
  return (
    <Panel
      title="What moves scores"
      note="How far each kind of knowledge moves a score, on average, in log-odds: 0.7 doubles or halves the odds of churning. What it saves is the log loss a plain model would lose without it; what others can stand in for costs little."
    >
      {concepts.length === 0 ? (
        <p>The chosen model is no sum of parts.</p>
      ) : (
        <table className="plain concepts">
          <thead>
            <tr>
              <th scope="col">What is known</th>
              <th scope="col" className="of-number">
                Moves
              </th>
              <th scope="col" className="of-meter">
                <span className="unseen">As a bar</span>
              </th>
              <th scope="col" className="of-number">
                Saves
              </th>
            </tr>
          </thead>
          <tbody>
            {concepts.map(({ concept, moves, saves }) => (
              <tr key={concept}>
                <th scope="row">{CONCEPTS[concept] ?? concept}</th>
                <td className="of-number">{moves.toFixed(2)}</td>
                <td className="of-meter">
                  <svg aria-hidden="true" focusable="false">
                    <rect width={`${x(moves)}%`} height="100%" rx="3" />
                  </svg>
                </td>
                <td className="of-number">{saves.toFixed(4)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </Panel>
  );
}

export function Features({
  features,
  effects,
  drift,
  order,
}: {
  features: readonly Feature[];
  effects: readonly FeatureEffect[];
  drift: readonly DriftRow[];
  order: FeatureOrder;
}) {
  const rows = featureRows(features, effects, drift, order);
  const most = Math.max(...rows.map(({ effect }) => effect?.moves ?? 0), 0.01);
  return (
    <Panel
      title="What it reads"
      className="full"
      note={`${count(features.length, "feature")} of one record per user. Open one for what it is, where it counts, and how users are spread.`}
    >
      <nav aria-label="Order of the features" className="orders">
        {FEATURE_ORDERS.map((each) => (
          <Link
            key={each}
            from="/model"
            to="/model"
            search={(before) => {
              const { order: _, ...rest } = before;
              return each === "effect" ? rest : { ...rest, order: each };
            }}
            replace
            resetScroll={false}
            className="chip"
            aria-current={each === order ? "true" : undefined}
          >
            {ORDER_NAMES[each]}
          </Link>
        ))}
      </nav>
      <ul className="features">
        {rows.map((row) => (
          <li key={row.feature.name}>
            <One row={row} most={most} />
          </li>
        ))}
      </ul>
    </Panel>
  );
}

function One({ row: { feature, effect, drift }, most }: { row: FeatureRow; most: number }) {
  const moves = effect?.moves ?? null;
  return (
    <details>
      <summary>
        <span className="name">{feature.name.replaceAll("_", " ")}</span>
        <span className="unit">{feature.unit}</span>
        <span className="moves">
          {moves !== null && (
            <>
              <svg aria-hidden="true" focusable="false">
                <rect width={`${(moves / most) * 100}%`} height="100%" rx="2" />
              </svg>
              <span>
                {moves.toFixed(2)}
                <span className="unseen"> log-odds on average</span>
              </span>
            </>
          )}
        </span>
        <span className="said">{drift !== null && <Said row={drift} />}</span>
      </summary>
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
          {effect !== null && moves !== null && <ByBin effect={effect} unit={feature.unit} />}
          {drift !== null && (
            <>
              <SpreadPlot
                training={drift.training}
                live={drift.live}
                label={`${feature.name.replaceAll("_", " ")}, in training and now`}
              />
              <Key />
            </>
          )}
        </div>
      </div>
    </details>
  );
}

/** What values of a feature add to log-odds, from low to high. */
function ByBin({ effect, unit }: { effect: FeatureEffect; unit: string }) {
  const names = binNames(effect.spread.cuts);
  const rows = [
    ...names.map((name, i) => ({ name, adds: effect.by_bin[i] ?? null })),
    ...(effect.when_missing === null ? [] : [{ name: "unknown", adds: effect.when_missing }]),
  ];
  const most = Math.max(...rows.map(({ adds }) => Math.abs(adds ?? 0)), 0.01);
  return (
    <table className="plain by-bin">
      <thead>
        <tr>
          <th scope="col">{unit === "yes or no" ? "Value" : `Value, ${unit}`}</th>
          <th scope="col" className="of-number">
            <abbr title="Mean of what it adds to the log-odds of churning">Adds</abbr>
          </th>
          <th scope="col" className="of-meter">
            <span className="unseen">As a bar</span>
          </th>
        </tr>
      </thead>
      <tbody>
        {rows.map(({ name, adds }, i) => (
          <tr key={i} className={adds !== null && adds > 0 ? "raises" : "lowers"}>
            <th scope="row">{name}</th>
            <td className="of-number">{adds === null ? "not seen" : signed(adds)}</td>
            <td className="of-meter">
              <svg aria-hidden="true" focusable="false">
                <line x1="50%" x2="50%" y1="0" y2="100%" className="tick" />
                {adds !== null && (
                  <rect
                    x={`${adds > 0 ? 50 : 50 - (-adds / most) * 50}%`}
                    width={`${(Math.abs(adds) / most) * 50}%`}
                    height="100%"
                    rx="2"
                  />
                )}
              </svg>
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function direction(sign: number): string {
  return sign > 0
    ? "never lowers the risk"
    : sign < 0
      ? "never raises the risk"
      : "may raise or lower the risk";
}
