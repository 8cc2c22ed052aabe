/** Alerts in words. */
import type { Alert } from "../api/client.ts";

export const KIND_WORDS: Readonly<Record<Alert["kind"], string>> = {
  opened: "Slipping away",
  escalated: "Slipping further",
  acknowledged: "Taken on",
  snoozed: "Put off",
  resolved: "Came back",
  churned: "Has left",
};

/** What one alert says: the rule's own words, else its strongest reason. */
export function said(alert: Alert): string | null {
  if (alert.words !== undefined && alert.words !== "") return alert.words;
  return alert.reasons[0]?.text ?? null;
}

/** The newest alert of every episode, newest first. */
export function episodes(alerts: readonly Alert[]): Alert[] {
  const seen = new Set<string>();
  return alerts.filter(({ dedup_key }) => !seen.has(dedup_key) && seen.add(dedup_key));
}

/** Whether somebody may still act on it. */
export const isOpen = ({ kind }: Alert): boolean => kind !== "resolved" && kind !== "churned";
