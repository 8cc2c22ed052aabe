/** Risk over time: scores as they were given, alerts on them, and what silence would add. */
import { curveStepAfter } from "@visx/curve";
import { scaleLinear } from "@visx/scale";
import { AreaClosed, LinePath } from "@visx/shape";
import { useState, type PointerEvent } from "react";
import type { Alert, PastScore } from "../api/client.ts";
import { Fold } from "../parts/Fold.tsx";
import { Moment } from "../parts/Moment.tsx";
import { Table, type Column } from "../parts/Table.tsx";
import { KIND_WORDS } from "../words/alerts.ts";
import { percent } from "../words/numbers.ts";
import { DAY, exact, short } from "../words/times.ts";
import type { Point } from "./ahead.ts";
import { course, holding, timeMarks, type Span } from "./course.ts";

const RISKS = [0, 0.25, 0.5, 0.75, 1];

export const TRIGGER_WORDS: Readonly<Record<PastScore["trigger"], string>> = {
  activity: "something they did",
  silence: "their silence",
  model: "a new model",
};

export function RiskCourse({
  scores,
  rises,
  alerts,
  now,
  riskNow,
  span,
  threshold,
  faint,
}: {
  scores: readonly PastScore[];
  rises: readonly Point[];
  alerts: readonly Alert[];
  now: number;
  riskNow: number;
  span: Span;
  threshold: number | null;
  /** Drawn greyed: little evidence, or a model that has seen no real user. */
  faint: boolean;
}) {
  const shown = course(scores, rises, now, riskNow, span);
  const [at, setAt] = useState<number | null>(null);
  const x = scaleLinear({ domain: [shown.from, shown.to], range: [0, 100] });
  const y = scaleLinear({ domain: [0, 1], range: [100, 0] });
  const last = shown.past.at(-1);
  const past = last === undefined ? [] : [...shown.past, { at: now, risk: last.risk }];
  const ahead =
    shown.ahead.length === 0
      ? []
      : [...shown.ahead, { at: shown.to, risk: shown.ahead.at(-1)?.risk ?? riskNow }];
  const marks = timeMarks(shown.from, shown.to);
  const days = (marks[1] ?? 0) - (marks[0] ?? 0) >= DAY;
  const told = alerts.filter(
    ({ occurred_at }) => Date.parse(occurred_at) >= shown.from && Date.parse(occurred_at) <= now,
  );
  const point = (event: PointerEvent<SVGSVGElement>) => {
    const box = event.currentTarget.getBoundingClientRect();
    setAt(x.invert(((event.clientX - box.left) / box.width) * 100));
  };
  return (
    <figure className={`course${faint ? " faint" : ""}`}>
      <svg
        className="plot"
        role="img"
        aria-label="Risk over time and, if they stay silent, ahead; the table below has the numbers"
        onPointerMove={point}
        onPointerLeave={() => setAt(null)}
      >
        <rect className="ground" width="100%" height="100%" />
        {RISKS.map((risk) => (
          <g key={risk}>
            <line className="tick" x1="0" x2="100%" y1={`${y(risk)}%`} y2={`${y(risk)}%`} />
            <text x="-8" y={`${y(risk)}%`} dy="0.32em" textAnchor="end">
              {`${risk * 100}%`}
            </text>
          </g>
        ))}
        {marks.map((each) => (
          <g key={each}>
            <line className="tick down" x1={`${x(each)}%`} x2={`${x(each)}%`} y1="0" y2="100%" />
            <text x={`${x(each)}%`} y="100%" dy="18" textAnchor="middle">
              {label(each, days)}
            </text>
          </g>
        ))}
        {threshold !== null && (
          <g className="threshold">
            <line x1="0" x2="100%" y1={`${y(threshold)}%`} y2={`${y(threshold)}%`} />
            <text x="4" y={`${y(threshold)}%`} dy="-5">
              alert at {percent(threshold)}
            </text>
          </g>
        )}
        {shown.models.map((each) => (
          <g key={each} className="model">
            <line x1={`${x(each)}%`} x2={`${x(each)}%`} y1="0" y2="100%" />
            <text
              x={`${x(each)}%`}
              y="100%"
              dy="-6"
              dx={x(each) > 70 ? -5 : 5}
              textAnchor={x(each) > 70 ? "end" : "start"}
            >
              new model
            </text>
          </g>
        ))}
        <svg viewBox="0 0 100 100" preserveAspectRatio="none" width="100%" height="100%">
          <AreaClosed<Point>
            className="under"
            data={past}
            x={({ at: moment }) => x(moment)}
            y={({ risk }) => y(risk)}
            yScale={y}
            curve={curveStepAfter}
          />
          <LinePath<Point>
            className="line"
            data={past}
            x={({ at: moment }) => x(moment)}
            y={({ risk }) => y(risk)}
            curve={curveStepAfter}
          />
          <AreaClosed<Point>
            className="under to-come"
            data={ahead}
            x={({ at: moment }) => x(moment)}
            y={({ risk }) => y(risk)}
            yScale={y}
            curve={curveStepAfter}
          />
          <LinePath<Point>
            className="line to-come"
            data={ahead}
            x={({ at: moment }) => x(moment)}
            y={({ risk }) => y(risk)}
            curve={curveStepAfter}
          />
        </svg>
        <g className="now">
          <line x1={`${x(now)}%`} x2={`${x(now)}%`} y1="0" y2="100%" />
          <text
            x={`${x(now)}%`}
            y="0"
            dy="-6"
            textAnchor={x(now) > 94 ? "end" : x(now) < 6 ? "start" : "middle"}
          >
            now
          </text>
          <circle cx={`${x(now)}%`} cy={`${y(riskNow)}%`} r="4.5" />
        </g>
        {told.map((alert) => (
          <circle
            key={alert.alert_id}
            className={`told ${alert.kind}`}
            cx={`${x(Date.parse(alert.occurred_at))}%`}
            cy={`${y(alert.churn_probability)}%`}
            r="5.5"
          >
            <title>
              {`${KIND_WORDS[alert.kind]}, ${percent(alert.churn_probability)}, ${exact(Date.parse(alert.occurred_at))}`}
            </title>
          </circle>
        ))}
        {at !== null && (
          <line className="pointer" x1={`${x(at)}%`} x2={`${x(at)}%`} y1="0" y2="100%" />
        )}
      </svg>
      <p className="readout" aria-hidden="true">
        {at === null ? <Legend alerts={told.length > 0} ahead={ahead.length > 0} /> : words(at)}
      </p>
    </figure>
  );

  function words(moment: number): string {
    const when = short(moment);
    if (moment > now) {
      const risk = holding(ahead, moment)?.risk;
      return risk === undefined ? when : `${when}: at least ${percent(risk)}, if they stay silent`;
    }
    const risk = holding(past, moment)?.risk;
    return risk === undefined ? `${when}: no score is kept` : `${when}: ${percent(risk)}`;
  }
}

function Legend({ alerts, ahead }: { alerts: boolean; ahead: boolean }) {
  return (
    <>
      <span className="key scored">as scored</span>
      {ahead && <span className="key silent">if they stay silent</span>}
      {alerts && <span className="key alerted">alert</span>}
    </>
  );
}

interface Row {
  readonly at: number;
  readonly risk: number;
  readonly why: string;
}

const COLUMNS: readonly Column<Row>[] = [
  { name: "When", of: ({ at }) => <Moment at={at} /> },
  { name: "Risk", as: "number", of: ({ risk }) => percent(risk) },
  { name: "Why", of: ({ why }) => why },
];

interface Chart {
  scores: readonly PastScore[];
  rises: readonly Point[];
  alerts: readonly Alert[];
  now: number;
}

/** Scores and alerts as rows, the latest first. */
export function CourseTable(chart: Chart) {
  return (
    <Fold summary="As a table">
      <Rows {...chart} />
    </Fold>
  );
}

function Rows({ scores, rises, alerts, now }: Chart) {
  const rows = [
    ...rises
      .filter(({ at }) => at > now)
      .map(({ at, risk }) => ({ at, risk, why: "if they stay silent by then" })),
    ...scores.map((score) => ({
      at: Date.parse(score.at),
      risk: score.churn_probability,
      why: `scored for ${TRIGGER_WORDS[score.trigger]}${score.new_model ? ", by another model" : ""}`,
    })),
    ...alerts.map((alert) => ({
      at: Date.parse(alert.occurred_at),
      risk: alert.churn_probability,
      why: `alert: ${KIND_WORDS[alert.kind].toLowerCase()}`,
    })),
  ].sort((a, b) => b.at - a.at);
  return (
    <div className="scroll">
      <Table columns={COLUMNS} rows={rows} />
    </div>
  );
}

const DAYS = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const HOURS = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

const label = (at: number, days: boolean): string => (days ? DAYS : HOURS).format(at);
