/** What happened to users who were slipping away, as it happens. */
import { Toggle } from "@base-ui/react/toggle";
import { ToggleGroup } from "@base-ui/react/toggle-group";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import type { Alert } from "../api/client.ts";
import { newer, useAlerts, type Liveness } from "../api/feed.ts";
import { MOST_ALERTS } from "../api/queries.ts";
import { AlertItem } from "../parts/AlertItem.tsx";
import { Page } from "../parts/Page.tsx";
import { Empty, Failure, Loading } from "../parts/States.tsx";
import { KINDS } from "../search.ts";
import { KIND_WORDS } from "../words/alerts.ts";
import { count, number } from "../words/numbers.ts";
import { day } from "../words/times.ts";

const AT_FIRST = 40;

export function Alerts() {
  const { kind } = useSearch({ from: "/alerts" });
  const navigate = useNavigate({ from: "/alerts" });
  const { alerts, error, liveness, fresh } = useAlerts();
  const [shown, setShown] = useState(AT_FIRST);
  // Rows must not move away under somebody's pointer.
  const [held, setHeld] = useState<readonly Alert[] | null>(null);
  const waiting = held === null ? 0 : newer(alerts ?? [], held);
  const wanted =
    (held ?? alerts)?.filter((alert) => kind === undefined || alert.kind === kind) ?? [];
  return (
    <Page
      title="Alerts"
      lead="Who crossed a rule's threshold, went further, came back or left"
      aside={<Live liveness={liveness} lost={error !== null} waiting={waiting} />}
    >
      <div className="controls">
        <ToggleGroup
          className="toggles wide"
          aria-label="Only"
          value={[kind ?? "all"]}
          onValueChange={([chosen]) =>
            void navigate({
              search:
                chosen === undefined || chosen === "all" ? {} : { kind: chosen as Alert["kind"] },
            })
          }
        >
          <Toggle value="all">All</Toggle>
          {KINDS.map((each) => ({
            each,
            many: alerts?.filter(({ kind: of }) => of === each).length ?? 0,
          }))
            .filter(({ each, many }) => many > 0 || each === kind)
            .map(({ each, many }) => (
              <Toggle key={each} value={each}>
                {KIND_WORDS[each]} <span className="soft">{number(many)}</span>
              </Toggle>
            ))}
        </ToggleGroup>
      </div>
      <p className="unseen" role="status">
        {fresh.size > 0 ? `${count(fresh.size, "new alert")} since you opened this page` : ""}
      </p>
      {alerts === undefined ? (
        error === null ? (
          <Loading lines={10} />
        ) : (
          <Failure error={error} />
        )
      ) : wanted.length === 0 ? (
        <Empty title={alerts.length === 0 ? "No alerts yet" : "None of this kind lately"}>
          <p>
            {alerts.length === 0
              ? "They appear here as soon as somebody's risk crosses the threshold. No need to reload."
              : `Among the last ${MOST_ALERTS} alerts.`}
          </p>
        </Empty>
      ) : (
        <div
          className="stack"
          onPointerEnter={() => setHeld(alerts)}
          onPointerLeave={() => setHeld(null)}
        >
          {byDay(wanted.slice(0, shown)).map(([name, ofDay]) => (
            <section key={name} aria-label={name} className="day">
              <h2>{name}</h2>
              <ul className="alerts">
                {ofDay.map((alert) => (
                  <AlertItem key={alert.alert_id} alert={alert} fresh={fresh.has(alert.alert_id)} />
                ))}
              </ul>
            </section>
          ))}
        </div>
      )}
      {wanted.length > shown && (
        <p className="more">
          <button type="button" onClick={() => setShown(MOST_ALERTS)}>
            Show all {number(wanted.length)}
          </button>
        </p>
      )}
      {alerts !== undefined && alerts.length >= MOST_ALERTS && shown >= MOST_ALERTS && (
        <p className="note">
          The last {MOST_ALERTS} alerts; older ones are on the topic <code>churn-alert</code>.
        </p>
      )}
    </Page>
  );
}

function Live({
  liveness,
  lost,
  waiting,
}: {
  liveness: Liveness;
  lost: boolean;
  /** How many wait until the pointer has left the list. */
  waiting: number;
}) {
  const [state, words] = lost
    ? ["lost", "not connected"]
    : liveness === "live"
      ? ["live", "live"]
      : ["polling", "asked for every 5 s"];
  return (
    <p className={`liveness ${state}`} role="status">
      <span className="dot" aria-hidden="true" /> {words}
      {waiting > 0 && `, ${number(waiting)} new held while you point at the list`}
    </p>
  );
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
