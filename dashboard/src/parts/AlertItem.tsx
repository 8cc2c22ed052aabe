/** One alert of a list. */
import { Link } from "@tanstack/react-router";
import { memo } from "react";
import type { Alert } from "../api/client.ts";
import { KIND_WORDS, said } from "../words/alerts.ts";
import { percent } from "../words/numbers.ts";
import { AlertActions } from "./AlertActions.tsx";
import { Moment } from "./Moment.tsx";

export const AlertItem = memo(function AlertItem({
  alert,
  fresh = false,
  named = true,
}: {
  alert: Alert;
  fresh?: boolean;
  /** Whether to say whose it is. */
  named?: boolean;
}) {
  const words = said(alert);
  return (
    <li className={`alert ${alert.kind}${fresh ? " fresh" : ""}`}>
      <span className="kind">{KIND_WORDS[alert.kind]}</span>
      <div className="what">
        {named && (
          <Link to="/user" search={{ id: alert.user_id }} className="id">
            {alert.user_id}
          </Link>
        )}
        {words !== null && <span className="why">{words}</span>}
        {alert.arm === "control" && (
          <span className="chip" title="Held out to measure what alerts do: nobody was told.">
            held out
          </span>
        )}
        {alert.rule !== "default" && <span className="chip">{alert.rule}</span>}
        {alert.severity === "critical" && <span className="chip strong">critical</span>}
      </div>
      <span className="change">
        {alert.previous_probability !== null && (
          <>
            <span className="soft">{percent(alert.previous_probability)}</span>
            <span aria-hidden="true"> → </span>
            <span className="unseen"> to </span>
          </>
        )}
        {percent(alert.churn_probability)}
      </span>
      <span className="when">
        <Moment at={alert.occurred_at} />
      </span>
      <AlertActions alert={alert} />
    </li>
  );
});
