/** Users by risk band over time, with what makes a trend look like one that is none. */
import { curveLinear } from "@visx/curve";
import { scaleLinear } from "@visx/scale";
import { Area } from "@visx/shape";
import { useState, type PointerEvent } from "react";
import type { Population } from "../api/client.ts";
import { number } from "../words/numbers.ts";
import { exact, short } from "../words/times.ts";
import { Moment } from "../parts/Moment.tsx";
import {
  bandName,
  few,
  layers,
  LENGTH,
  nearest,
  stops,
  ticks,
  top,
  type Basis,
  type Edge,
  type Stop,
} from "./trend.ts";

const ROWS = 14;

export function Trend({ population, basis }: { population: Population; basis: Basis }) {
  const [pointed, point] = useState<number | null>(null);
  const points = stops(population.trend, basis);
  const to = points.at(-1)?.at ?? 0;
  const from = to - LENGTH[population.range];
  const highest = top(points);
  const x = scaleLinear({ domain: [from, to], range: [0, 100] });
  const y = scaleLinear({ domain: [0, highest], range: [100, 0] });
  const shown = pointed === null ? null : nearest(points, pointed);
  const follow = (event: PointerEvent<SVGSVGElement>) => {
    const { left, width } = event.currentTarget.getBoundingClientRect();
    point(from + ((event.clientX - left) / width) * (to - from));
  };
  return (
    <figure className={`trend ${basis}`}>
      <svg
        className="plot"
        role="img"
        aria-label="Users by risk band over time; the table below has the numbers"
        onPointerMove={follow}
        onPointerLeave={() => point(null)}
      >
        {[0, 0.25, 0.5, 0.75, 1].map((part) => (
          <g key={part}>
            <line className="tick" x1="0" x2="100%" y1={`${part * 100}%`} y2={`${part * 100}%`} />
            <text x="-8" y={`${part * 100}%`} dy="0.32em" textAnchor="end">
              {number(highest * (1 - part))}
            </text>
          </g>
        ))}
        {ticks(from, to, population.range).map((at, i) => (
          <text
            key={at}
            className={i % 2 === 1 ? "between" : ""}
            x={`${x(at)}%`}
            y="100%"
            dy="18"
            textAnchor="middle"
          >
            {label(at, population.range)}
          </text>
        ))}
        <svg viewBox="0 0 100 100" preserveAspectRatio="none" width="100%" height="100%">
          {layers(points).map((edges, band) => (
            <Area<Edge>
              key={band}
              className={`layer band-${band}`}
              data={edges}
              x={({ at }) => x(at)}
              y0={({ low }) => y(low)}
              y1={({ high }) => y(high)}
              curve={curveLinear}
            />
          ))}
        </svg>
        {population.gaps.map(({ start, end }) => {
          const [begin, over] = [Math.max(x(Date.parse(start)), 0), x(Date.parse(end))];
          return (
            <g key={start} className="gap">
              <title>{`Nobody's activity was scored from ${exact(Date.parse(start))} to ${exact(Date.parse(end))}`}</title>
              <rect x={`${begin}%`} width={`${Math.max(over - begin, 0.3)}%`} height="100%" />
            </g>
          );
        })}
        {population.models.map(({ at, model_version }, i) => (
          <g key={at} className="mark">
            <title>{`Model ${model_version} from ${exact(Date.parse(at))}`}</title>
            <line x1={`${x(Date.parse(at))}%`} x2={`${x(Date.parse(at))}%`} y1="0" y2="100%" />
            <text x={`${x(Date.parse(at))}%`} y={12 + (i % 3) * 14} dx="4">
              new model
            </text>
          </g>
        ))}
        {shown !== null && (
          <line
            className="pointed"
            x1={`${x(shown.at)}%`}
            x2={`${x(shown.at)}%`}
            y1="0"
            y2="100%"
          />
        )}
      </svg>
      <p className="readout note">{shown === null ? said(population) : told(shown, population)}</p>
      <figcaption>
        <details>
          <summary>As a table</summary>
          <div className="scroll" role="region" aria-label="Users by risk band" tabIndex={0}>
            <table className="plain">
              <thead>
                <tr>
                  <th scope="col">When</th>
                  {population.bands.map((band) => (
                    <th key={band.low} scope="col" className="of-number">
                      {bandName(band)}
                    </th>
                  ))}
                </tr>
              </thead>
              <tbody>
                {few(points, ROWS).map(({ at, bands }) => (
                  <tr key={at}>
                    <th scope="row">
                      <Moment at={at} />
                    </th>
                    {bands.map((users, band) => (
                      <td key={band} className="of-number">
                        {number(users)}
                      </td>
                    ))}
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </details>
      </figcaption>
    </figure>
  );
}

function told({ at, bands }: Stop, population: Population): string {
  const parts = population.bands
    .map((band, i) => `${number(bands[i] ?? 0)} ${bandName(band)}`)
    .reverse();
  return `${short(at)}: ${parts.join(", ")}`;
}

/** What is marked, in words. */
function said({ models, gaps, step_seconds }: Population): string {
  const parts = [`As each ${step_seconds === 3600 ? "hour" : "UTC day"} ended`];
  if (models.length > 0) parts.push("lines: another model began to score");
  if (gaps.length > 0) parts.push("shaded: nobody's activity was scored, where some is usual");
  return `${parts.join("; ")}.`;
}

function label(at: number, range: Population["range"]): string {
  const moment = new Date(at);
  if (range === "day")
    return moment.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" });
  if (range === "year") return moment.toLocaleDateString(undefined, { month: "short" });
  return moment.toLocaleDateString(undefined, { day: "numeric", month: "short" });
}
