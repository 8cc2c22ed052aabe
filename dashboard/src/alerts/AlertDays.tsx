/** A list of alerts by the day on which they occurred, in the viewer's zone. */
import type { Alert } from "../api/client.ts";
import { AlertItem } from "../parts/AlertItem.tsx";
import { day } from "../words/times.ts";

const NONE: ReadonlySet<string> = new Set();

export function AlertDays({
  alerts,
  fresh = NONE,
}: {
  alerts: readonly Alert[];
  fresh?: ReadonlySet<string>;
}) {
  return byDay(alerts).map(([name, ofDay]) => (
    <section key={name} aria-label={name} className="day">
      <h2>{name}</h2>
      <ul className="alerts">
        {ofDay.map((alert) => (
          <AlertItem key={alert.alert_id} alert={alert} fresh={fresh.has(alert.alert_id)} />
        ))}
      </ul>
    </section>
  ));
}

function byDay(alerts: readonly Alert[]): [string, Alert[]][] {
  const days = new Map<string, Alert[]>();
  for (const alert of alerts) {
    const name = day(Date.parse(alert.occurred_at));
    const ofDay = days.get(name);
    if (ofDay === undefined) days.set(name, [alert]);
    else ofDay.push(alert);
  }
  return [...days];
}
