/** The recent alerts about one user. */
import { useAlerts } from "../api/feed.ts";
import { MOST_ALERTS } from "../api/queries.ts";
import { AlertItem } from "./AlertItem.tsx";
import { Panel } from "./Page.tsx";

export function UserAlerts({ id }: { id: string }) {
  const { alerts, fresh } = useAlerts();
  const own = alerts?.filter(({ user_id }) => user_id === id) ?? [];
  if (own.length === 0) return null;
  return (
    <Panel title="Alerts" note={`Among the last ${MOST_ALERTS} of everybody's.`}>
      <ul className="alerts">
        {own.map((alert) => (
          <AlertItem
            key={alert.alert_id}
            alert={alert}
            fresh={fresh.has(alert.alert_id)}
            named={false}
          />
        ))}
      </ul>
    </Panel>
  );
}
