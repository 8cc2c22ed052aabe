/** What a user did on each of the last 28 days. */
import type { Day } from "../api/client.ts";
import { count, number } from "../words/numbers.ts";
import { measured, type Measure } from "./days.ts";

export function DayBars({ days, measure }: { days: readonly Day[]; measure: Measure }) {
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
}

export function DaysTable({ days }: { days: readonly Day[] }) {
  return (
    <details>
      <summary>As a table</summary>
      <div className="scroll">
        <table className="plain">
          <thead>
            <tr>
              <th scope="col">Day (UTC)</th>
              <th scope="col" className="of-number">
                Visits
              </th>
              <th scope="col" className="of-number">
                Pages
              </th>
              <th scope="col" className="of-number">
                Minutes
              </th>
            </tr>
          </thead>
          <tbody>
            {days.toReversed().map((day) => (
              <tr key={day.day} className={day.is_active ? "" : "soft"}>
                <th scope="row">{dayName(day.day)}</th>
                <td className="of-number">{number(day.sessions)}</td>
                <td className="of-number">{number(day.pages)}</td>
                <td className="of-number">{number(day.minutes)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}

function told(day: Day): string {
  const name = dayName(day.day);
  if (!day.is_active) return `${name}: nothing`;
  return `${name}: ${count(day.sessions, "visit")}, ${count(day.pages, "page")}, ${count(day.minutes, "minute")}`;
}

/** The days are days in UTC, whatever zone the viewer is in. */
const dayName = (day: string): string =>
  new Date(`${day}T00:00:00Z`).toLocaleDateString(undefined, {
    day: "numeric",
    month: "short",
    timeZone: "UTC",
  });
