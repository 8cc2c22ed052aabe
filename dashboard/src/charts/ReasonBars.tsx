/** Reasons as a waterfall: each bar begins where the one above ended, and the last end is the risk. */
import { memo } from "react";
import { scaleLinear } from "@visx/scale";
import type { Explanation } from "../api/client.ts";
import { percent, signed } from "../words/numbers.ts";
import { fromLogOdds, logOdds } from "../words/risk.ts";
import { marks, steps, sum } from "./steps.ts";

export const ReasonBars = memo(function ReasonBars({ explanation }: { explanation: Explanation }) {
  const parts = steps(explanation);
  const end = sum(explanation);
  const ends = [explanation.base, ...parts.map(({ to }) => to)];
  const [low, high] = [Math.min(...ends) - 0.35, Math.max(...ends) + 0.35];
  const place = scaleLinear({ domain: [low, high], range: [0, 100] });
  const ticks = marks(low, high);
  const at = (odds: number) => `${place(odds)}%`;
  const lines = ticks.map((probability) => (
    <line
      key={probability}
      className="tick"
      x1={at(logOdds(probability))}
      x2={at(logOdds(probability))}
      y1="0"
      y2="100%"
    />
  ));
  return (
    <table className="reasons">
      <thead>
        <tr>
          <th scope="col">Reason</th>
          <th scope="col" className="of-number">
            <abbr title="What it adds to the log-odds of churning">Adds</abbr>
          </th>
          <th scope="col" className="of-bar">
            <span className="unseen">Risk, from and to</span>
            <svg className="axis" aria-hidden="true" focusable="false">
              {ticks.map((probability) => (
                <text key={probability} x={at(logOdds(probability))} y="12">
                  {percent(probability).replace(".0", "")}
                </text>
              ))}
            </svg>
          </th>
        </tr>
      </thead>
      <tbody>
        <tr className="base">
          <th scope="row">Before anything is known</th>
          <td className="of-number">{signed(explanation.base)}</td>
          <td className="of-bar">
            <span className="unseen">{percent(fromLogOdds(explanation.base))}</span>
            <svg aria-hidden="true" focusable="false">
              {lines}
              <circle cx={at(explanation.base)} cy="50%" r="4" />
            </svg>
          </td>
        </tr>
        {parts.map(({ text, contribution, from, to }) => (
          <tr key={text} className={contribution > 0 ? "raises" : "lowers"}>
            <th scope="row">{text}</th>
            <td className="of-number">{signed(contribution)}</td>
            <td className="of-bar">
              <span className="unseen">
                {percent(fromLogOdds(from))} to {percent(fromLogOdds(to))}
              </span>
              <svg aria-hidden="true" focusable="false">
                <title>{`${percent(fromLogOdds(from))} to ${percent(fromLogOdds(to))}`}</title>
                {lines}
                <line className="link" x1={at(from)} x2={at(from)} y1="0" y2="50%" />
                <rect
                  x={at(Math.min(from, to))}
                  width={`${Math.max(Math.abs(place(to) - place(from)), 0.4)}%`}
                  y="25%"
                  height="50%"
                  rx="2"
                />
                <line className="link" x1={at(to)} x2={at(to)} y1="50%" y2="100%" />
              </svg>
            </td>
          </tr>
        ))}
      </tbody>
      <tfoot>
        <tr>
          <th scope="row">Together</th>
          <td className="of-number">{signed(end)}</td>
          <td className="of-bar">
            <span className="unseen">{percent(fromLogOdds(end))}</span>
            <svg aria-hidden="true" focusable="false">
              {lines}
              <circle cx={at(end)} cy="50%" r="5" />
              <text
                x={at(end)}
                y="50%"
                dx={place(end) > 80 ? -10 : 10}
                dy="0.32em"
                textAnchor={place(end) > 80 ? "end" : "start"}
              >
                {percent(fromLogOdds(end))}
              </text>
            </svg>
          </td>
        </tr>
      </tfoot>
    </table>
  );
});
