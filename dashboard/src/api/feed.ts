/** The alerts, live: the gateway's stream while it lasts, else asked for every few seconds. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import type { Alert } from "./client.ts";
import { alertsQuery, MOST_ALERTS } from "./queries.ts";

export type Liveness = "live" | "polling";

const POLL_MS = 5_000;
/** The stream leaves out who is held out; the list has them. */
const LIST_MS = 60_000;
const AGAIN_MS = 10_000;

/** With one more, newest first, each once, at most MOST_ALERTS. */
export function merged(alerts: readonly Alert[], more: Alert): Alert[] {
  const others = alerts.filter(({ alert_id }) => alert_id !== more.alert_id);
  return [more, ...others]
    .sort((a, b) => Date.parse(b.occurred_at) - Date.parse(a.occurred_at))
    .slice(0, MOST_ALERTS);
}

/** How many of `alerts` are not among `seen`. */
export function newer(alerts: readonly Alert[], seen: readonly Alert[]): number {
  const known = new Set(seen.map(({ alert_id }) => alert_id));
  return alerts.filter(({ alert_id }) => !known.has(alert_id)).length;
}

export function useAlerts(): {
  alerts: readonly Alert[] | undefined;
  error: Error | null;
  liveness: Liveness;
  /** Ids of those that came while the page was open. */
  fresh: ReadonlySet<string>;
} {
  const queries = useQueryClient();
  const [liveness, setLiveness] = useState<Liveness>("polling");
  const [fresh, setFresh] = useState<ReadonlySet<string>>(new Set());
  const { data, error } = useQuery({
    ...alertsQuery,
    refetchInterval: liveness === "live" ? LIST_MS : POLL_MS,
  });

  useEffect(() => {
    let source: EventSource;
    let later: ReturnType<typeof setTimeout> | undefined;
    const listen = () => {
      source = new EventSource("/alerts/stream");
      source.addEventListener("open", () => {
        setLiveness("live");
        // What came between the list and the stream.
        void queries.invalidateQueries({ queryKey: alertsQuery.queryKey });
      });
      source.addEventListener("alert", ({ data: text }: MessageEvent<string>) => {
        const alert = JSON.parse(text) as Alert;
        const known = queries.getQueryData(alertsQuery.queryKey);
        if (known?.every(({ alert_id }) => alert_id !== alert.alert_id) ?? true) {
          setFresh((before) => new Set(before).add(alert.alert_id));
        }
        queries.setQueryData(alertsQuery.queryKey, (before) => merged(before ?? [], alert));
      });
      source.addEventListener("gap", () => {
        void queries.invalidateQueries({ queryKey: alertsQuery.queryKey });
      });
      source.addEventListener("error", () => {
        setLiveness("polling");
        // Otherwise the browser comes back by itself.
        if (source.readyState === EventSource.CLOSED) later = setTimeout(listen, AGAIN_MS);
      });
    };
    listen();
    return () => {
      clearTimeout(later);
      source.close();
    };
  }, [queries]);

  return { alerts: data, error, liveness, fresh };
}
