/** What was alerted about the user, what became of it, and what may be done about it. */
import { Menu } from "@base-ui/react/menu";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { memo, useEffect, useState } from "react";
import type { Alert, UserEpisode } from "../api/client.ts";
import { useAlertCommand, type Verdict } from "../api/commands.ts";
import { useAlerts } from "../api/feed.ts";
import { userAlertsQuery } from "../api/queries.ts";
import { useMay } from "../api/session.ts";
import { CommandOutcome } from "../parts/CommandOutcome.tsx";
import { Moment } from "../parts/Moment.tsx";
import { Panel } from "../parts/Page.tsx";
import { Failure, Loading } from "../parts/States.tsx";
import { KIND_WORDS, said } from "../words/alerts.ts";
import { percent } from "../words/numbers.ts";
import { DELIVERY_WORDS, lifeOf, STATE_WORDS, VERDICT_WORDS } from "./lives.ts";

export const EpisodesPanel = memo(function EpisodesPanel({ id }: { id: string }) {
  const queries = useQueryClient();
  const { alerts, liveness } = useAlerts();
  const { data, error, refetch } = useQuery({
    ...userAlertsQuery(id),
    refetchInterval: liveness === "live" ? 30_000 : 10_000,
  });
  const newest = alerts?.find(({ user_id }) => user_id === id)?.alert_id;
  useEffect(() => {
    // Everything of the user has changed with it: score, history, events.
    if (newest !== undefined) void queries.invalidateQueries({ queryKey: ["user", id] });
  }, [newest, id, queries]);
  return (
    <Panel
      title="Alerts"
      note={
        data?.episodes.length === 0
          ? undefined
          : "By episode, from slipping away to coming back; the latest first."
      }
    >
      {error !== null && data === undefined ? (
        <Failure error={error} again={() => void refetch()} />
      ) : data === undefined ? (
        <Loading lines={3} />
      ) : data.episodes.length === 0 ? (
        <p>Nobody was alerted about this user in the last 90 days.</p>
      ) : (
        <ul className="episodes">
          {data.episodes.map((episode) => (
            <Episode key={episode.dedup_key} episode={episode} userId={id} />
          ))}
        </ul>
      )}
    </Panel>
  );
});

function Episode({ episode, userId }: { episode: UserEpisode; userId: string }) {
  const { give, progress } = useAlertCommand(userId, episode.dedup_key);
  const [note, setNote] = useState("");
  const may = useMay("operate");
  const isBusy = progress.state === "sending" || progress.state === "waiting";
  const isOpen = episode.state !== "resolved" && episode.state !== "churned";
  return (
    <li className={`episode ${episode.state}`}>
      <header>
        <span className={`state ${episode.state}`}>{STATE_WORDS[episode.state]}</span>
        {episode.state === "snoozed" && episode.snoozed_until !== null && (
          <span className="soft">
            until <Moment at={episode.snoozed_until} />
          </span>
        )}
        {episode.severity === "critical" && <span className="chip strong">critical</span>}
        {episode.arm === "control" && (
          <span className="chip" title="Held out to measure what alerts do: nobody was told.">
            held out
          </span>
        )}
        {episode.rule !== "default" && <span className="chip">rule {episode.rule}</span>}
        <span className="soft">
          opened <Moment at={episode.opened_at} />
        </span>
      </header>
      <ol className="life">
        {lifeOf(episode).map((step) =>
          step.kind === "alert" ? (
            <Transition key={step.alert.alert_id} alert={step.alert} />
          ) : (
            <li key={`${step.told.alert_id}:${step.told.channel}`} className="told">
              <span>
                {DELIVERY_WORDS[step.told.state]} <strong>{step.told.channel}</strong>
                {step.told.attempts > 1 && `, ${step.told.attempts} attempts`}
                {step.told.reason !== "" && <span className="soft">: {step.told.reason}</span>}
              </span>
              <Moment at={step.told.updated_at} by="viewer" />
            </li>
          ),
        )}
      </ol>
      {episode.verdict !== null && (
        <p className="judged">
          <strong>{VERDICT_WORDS[episode.verdict.verdict]}</strong>
          {episode.verdict.actor !== "" && `, says ${episode.verdict.actor}`}
          {episode.verdict.note !== "" && <q>{episode.verdict.note}</q>}{" "}
          <span className="soft">
            <Moment at={episode.verdict.at} />
          </span>
        </p>
      )}
      {may && (
        <div className="acts">
          {isOpen && (
            <>
              <button
                type="button"
                className="quiet"
                disabled={isBusy}
                onClick={() => give({ kind: "acknowledge" })}
              >
                I take care of it
              </button>
              <Menu.Root>
                <Menu.Trigger className="quiet" disabled={isBusy}>
                  Put off
                </Menu.Trigger>
                <Menu.Portal>
                  <Menu.Positioner sideOffset={4} align="start">
                    <Menu.Popup className="popup">
                      {PUT_OFF.map(([label, hours]) => (
                        <Menu.Item
                          key={hours}
                          className="item"
                          onClick={() => give({ kind: "snooze", hours })}
                        >
                          {label}
                        </Menu.Item>
                      ))}
                    </Menu.Popup>
                  </Menu.Positioner>
                </Menu.Portal>
              </Menu.Root>
            </>
          )}
          <details className="judge">
            <summary>What was it worth?</summary>
            <div className="form">
              <label className="field">
                <span>Note, if you like</span>
                <input
                  value={note}
                  maxLength={2000}
                  onChange={(event) => setNote(event.target.value)}
                />
              </label>
              <div className="acts">
                {VERDICTS.map((verdict) => (
                  <button
                    key={verdict}
                    type="button"
                    className="quiet"
                    disabled={isBusy}
                    onClick={() => give({ kind: "verdict", verdict, note })}
                  >
                    {VERDICT_WORDS[verdict]}
                  </button>
                ))}
              </div>
            </div>
          </details>
          <CommandOutcome progress={progress} />
        </div>
      )}
    </li>
  );
}

const PUT_OFF: readonly (readonly [string, number])[] = [
  ["For four hours", 4],
  ["For a day", 24],
  ["For a week", 7 * 24],
];
const VERDICTS: readonly Verdict[] = ["helped", "wrong", "duplicate"];

function Transition({ alert }: { alert: Alert }) {
  // What a person said changes nothing of the risk.
  const isCommand = alert.kind === "acknowledged" || alert.kind === "snoozed";
  const words = isCommand ? null : said(alert);
  return (
    <li className={`transition ${alert.kind}`}>
      <span>
        <strong>{KIND_WORDS[alert.kind]}</strong>
        {alert.actor !== "" && `, by ${alert.actor}`}
        {words !== null && <span className="soft">: {words}</span>}{" "}
        {!isCommand && (
          <span className="soft">
            {alert.previous_probability !== null && `${percent(alert.previous_probability)} → `}
            {percent(alert.churn_probability)}
          </span>
        )}
      </span>
      <Moment at={alert.occurred_at} />
    </li>
  );
}
