/** A list that grows at both ends: what comes live before, older pages behind. */
import type { Alert } from "../api/client.ts";
import type { AlertsSearch } from "../search.ts";

/** Whether an alert is one of those an address asks for. */
export function isWanted(alert: Alert, search: AlertsSearch): boolean {
  return (
    (search.kind === undefined || alert.kind === search.kind) &&
    (search.arm === undefined || alert.arm === search.arm) &&
    (search.rule === undefined || alert.rule === search.rule) &&
    (search.severity === undefined || alert.severity === search.severity) &&
    (search.user === undefined || alert.user_id === search.user)
  );
}

/**
 * Those of the live list that are wanted, and those of the pages: each once, newest first. The live
 * list is everybody's, so of what is behind its end it says nothing.
 */
export function together(
  live: readonly Alert[],
  pages: readonly Alert[],
  search: AlertsSearch,
): Alert[] {
  const all = new Map<string, Alert>();
  for (const alert of live) if (isWanted(alert, search)) all.set(alert.alert_id, alert);
  for (const alert of pages) all.set(alert.alert_id, alert);
  return [...all.values()].sort(
    (a, b) =>
      Date.parse(b.occurred_at) - Date.parse(a.occurred_at) ||
      (a.alert_id < b.alert_id ? 1 : a.alert_id > b.alert_id ? -1 : 0),
  );
}
