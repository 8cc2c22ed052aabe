/** What a user did on each of the last 28 days. */
import { memo } from "react";
import type { Day } from "../api/client.ts";
import { Fold } from "../parts/Fold.tsx";
import { Table, type Column } from "../parts/Table.tsx";
import { count, number } from "../words/numbers.ts";
import { measured, type Measure } from "./days.ts";

export const DayBars = memo(function DayBars({
  days,
  measure,
}: {
  days: readonly Day[];
  measure: Measure;
}) {
  const highest = Math.max(...days.map((day) => measured(day, measure)), 0);
  const most = Math.max(highest, 1);
  const lastActive = days.findLastIndex(({ is_active }) => is_active);
  return (
    <figure className="days">
      <svg
        className="plot"
        role="img"
        aria-label={`${measure} on each of the last ${days.length} days; the table below has the numbers`}
      >
        {highest > 0 && (
          <text className="most" x="0" y="0" dy="-6">
            {number(highest)}
          </text>
        )}
        {days.map((day, at) => {
          const value = measured(day, measure);
          const height = value === 0 ? 0 : Math.max((value / most) * 100, 3);
          return (
            <g key={day.day} className={at > lastActive ? "silent" : ""}>
              <title>{told(day)}</title>
              <rect
                className="ground"
                x={`${(at / days.length) * 100}%`}
                width={`${100 / days.length}%`}
                height="100%"
              />
              <rect
                className="bar"
                x={`${((at + 0.14) / days.length) * 100}%`}
                width={`${72 / days.length}%`}
                y={`${100 - height}%`}
                height={`${height}%`}
                rx="2"
              />
              {day.is_active && value === 0 && (
                <circle cx={`${((at + 0.5) / days.length) * 100}%`} cy="100%" r="2.5" />
              )}
            </g>
          );
        })}
        <line className="floor" x1="0" x2="100%" y1="100%" y2="100%" />
        {[0, 7, 14, 21, days.length - 1].map((at) => {
          const day = days[at];
          return day === undefined ? null : (
            <text
              key={at}
              x={`${((at + 0.5) / days.length) * 100}%`}
              y="100%"
              dy="18"
              textAnchor={at === 0 ? "start" : at === days.length - 1 ? "end" : "middle"}
            >
              {at === days.length - 1 ? "today" : dayName(day.day)}
            </text>
          );
        })}
      </svg>
    </figure>
  );
});

const COLUMNS: readonly Column<Day>[] = [
  { name: "Day (UTC)", as: "row", of: ({ day }) => dayName(day) },
  { name: "Visits", as: "number", of: ({ sessions }) => number(sessions) },
  { name: "Pages", as: "number", of: ({ pages }) => number(pages) },
  { name: "Minutes", as: "number", of: ({ minutes }) => number(minutes) },
];

export function DaysTable({ days }: { days: readonly Day[] }) {
  return (
    <Fold summary="As a table">
      <div className="scroll">
        <Table
          columns={COLUMNS}
          rows={days.toReversed()}
          rowClass={({ is_active }) => (is_active ? "" : "soft")}
        />
      </div>
    </Fold>
  );
}

function told(day: Day): string {
  const name = dayName(day.day);
  if (!day.is_active) return `${name}: nothing`;
  return `${name}: ${count(day.sessions, "visit")}, ${count(day.pages, "page")}, ${count(day.minutes, "minute")}`;
}

const DAYS = new Intl.DateTimeFormat(undefined, {
  day: "numeric",
  month: "short",
  timeZone: "UTC",
});

/** The days are days in UTC, whatever zone the viewer is in. */
const dayName = (day: string): string => DAYS.format(Date.parse(`${day}T00:00:00Z`));
