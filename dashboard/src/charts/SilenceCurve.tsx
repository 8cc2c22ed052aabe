/** What silence alone will do to a user's risk, from their last visit on. */
import { curveStepAfter } from "@visx/curve";
import { scaleLinear } from "@visx/scale";
import { AreaClosed, LinePath } from "@visx/shape";
import { percent } from "../words/numbers.ts";
import { DAY, exact, span } from "../words/times.ts";
import { Moment } from "../parts/Moment.tsx";
import { frame, type Point } from "./ahead.ts";

const RISKS = [0, 0.25, 0.5, 0.75, 1];

export function SilenceCurve({
  points,
  lastSeen,
  now,
  atRiskAt,
}: {
  points: readonly Point[];
  lastSeen: number;
  now: number;
  atRiskAt: number | null;
}) {
  const [from, to] = frame(points, lastSeen, now);
  const x = scaleLinear({ domain: [from, to], range: [0, 100] });
  const y = scaleLinear({ domain: [0, 1], range: [100, 0] });
  const drawn = [{ at: from, risk: 0 }, ...points, { at: to, risk: points.at(-1)?.risk ?? 0 }];
  const days = dayMarks((to - from) / DAY);
  return (
    <figure className="silence">
      <svg
        className="plot"
        role="img"
        aria-label="Risk by days of silence; the table below has the numbers"
      >
        {RISKS.map((risk) => (
          <g key={risk}>
            <line className="tick" x1="0" x2="100%" y1={`${y(risk)}%`} y2={`${y(risk)}%`} />
            <text x="-6" y={`${y(risk)}%`} dy="0.32em" textAnchor="end">
              {`${risk * 100}%`}
            </text>
          </g>
        ))}
        {days.map((each) => (
          <text key={each} x={`${x(from + each * DAY)}%`} y="100%" dy="18" textAnchor="middle">
            {each === 0 ? "last visit" : `${each} d`}
          </text>
        ))}
        <svg viewBox="0 0 100 100" preserveAspectRatio="none" width="100%" height="100%">
          <AreaClosed<Point>
            className="under"
            data={drawn}
            x={({ at }) => x(at)}
            y={({ risk }) => y(risk)}
            yScale={y}
            curve={curveStepAfter}
          />
          <LinePath<Point>
            className="line"
            data={drawn}
            x={({ at }) => x(at)}
            y={({ risk }) => y(risk)}
            curve={curveStepAfter}
          />
        </svg>
        {atRiskAt !== null && atRiskAt <= to && (
          <Mark at={x(atRiskAt)} label="alert threshold" kind="threshold" low />
        )}
        <Mark at={x(Math.min(now, to))} label="now" kind="now" />
      </svg>
      <figcaption>
        <details>
          <summary>As a table</summary>
          <table className="plain">
            <thead>
              <tr>
                <th scope="col">Risk at least</th>
                <th scope="col">After a silence of</th>
                <th scope="col">That is</th>
              </tr>
            </thead>
            <tbody>
              {points.map(({ at, risk }) => (
                <tr key={at}>
                  <td>{percent(risk)}</td>
                  <td>{span(at - lastSeen)}</td>
                  <td title={exact(at)}>
                    <Moment at={at} />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </details>
      </figcaption>
    </figure>
  );
}

function Mark({
  at,
  label,
  kind,
  low = false,
}: {
  at: number;
  label: string;
  kind: string;
  low?: boolean;
}) {
  return (
    <g className={`mark ${kind}`}>
      <line x1={`${at}%`} x2={`${at}%`} y1="0" y2="100%" />
      <text
        x={`${at}%`}
        y={low ? "100%" : "0"}
        dx={at > 70 ? -5 : 5}
        dy={low ? -6 : 12}
        textAnchor={at > 70 ? "end" : "start"}
      >
        {label}
      </text>
    </g>
  );
}

/** Whole days, at most six of them, evenly spaced. */
function dayMarks(days: number): number[] {
  const step = [1, 2, 5, 7, 14, 30, 60, 90, 180, 365].find((each) => days / each <= 5) ?? 730;
  return Array.from({ length: Math.floor(days / step) + 1 }, (_, each) => each * step);
}
