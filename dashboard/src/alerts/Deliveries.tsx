/** What became of what people were to be told: failures first, and sending again. */
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import {
  deliveriesQuery,
  policyQuery,
  type Delivery,
  type DeliveryList,
} from "../api/alertQueries.ts";
import { useSendAgain } from "../api/sendAgain.ts";
import { useMay } from "../api/session.ts";
import { Moment } from "../parts/Moment.tsx";
import { Panel } from "../parts/Page.tsx";
import { Empty, Failure, Loading } from "../parts/States.tsx";
import { DELIVERY_STATES, type AlertsSearch } from "../search.ts";
import {
  about,
  againWords,
  became,
  DELIVERY_STATE_SHORT,
  DELIVERY_STATE_WORDS,
  deliveryTone,
  mayResend,
  staying,
  table,
} from "../words/deliveries.ts";
import { count, number } from "../words/numbers.ts";
import { useNarrow } from "./Filters.tsx";

const FAILURES = 20;

export function Deliveries({ search }: { search: AlertsSearch }) {
  const { data, error, refetch } = useInfiniteQuery(deliveriesQuery(search));
  const narrow = useNarrow();
  const first = data?.pages[0];
  if (first === undefined)
    return error === null ? (
      <Loading lines={10} />
    ) : (
      <Failure error={error} again={() => void refetch()} />
    );
  if (first.counts.length === 0) return <NoChannels />;
  const isNarrowed =
    search.channel !== undefined || search.delivery !== undefined || search.user !== undefined;
  return (
    <div className="stack">
      {first.switched_off.map(({ channel, reason }) => (
        <p key={channel} className="banner lost" role="note">
          The channel <strong>{channel}</strong> was switched off: {reason}. Another address in the
          policy, or sending something again, switches it on.
        </p>
      ))}
      <Counts counts={first.counts} search={search} />
      {isNarrowed && (
        <p>
          <button
            type="button"
            className="quiet"
            onClick={() => narrow({ channel: undefined, delivery: undefined, user: undefined })}
          >
            Show all deliveries
          </button>
        </p>
      )}
      {!isNarrowed && <Failed />}
      <List
        // Another list begins at its beginning.
        key={JSON.stringify([search.channel, search.delivery, search.user])}
        title={isNarrowed ? heading(search) : "Latest"}
        search={search}
      />
    </div>
  );
}

function heading({ channel, delivery, user }: AlertsSearch): string {
  const parts = [
    delivery === undefined ? "Deliveries" : DELIVERY_STATE_WORDS[delivery],
    ...(channel === undefined ? [] : [`on ${channel}`]),
    ...(user === undefined ? [] : [`about ${user}`]),
  ];
  return parts.join(" ");
}

function Counts({ counts, search }: { counts: DeliveryList["counts"]; search: AlertsSearch }) {
  const { states, channels } = table(counts, DELIVERY_STATES);
  return (
    <Panel
      title="By channel"
      note="What is over counts for 30 days; exact up to 16,000 of each. Choose a number to see which."
    >
      <div className="scroll" role="region" aria-label="Deliveries by channel" tabIndex={0}>
        <table className="plain counts">
          <thead>
            <tr>
              <th scope="col">Channel</th>
              {states.map((state) => (
                <th key={state} scope="col" className="of-number">
                  <abbr title={DELIVERY_STATE_WORDS[state]}>{DELIVERY_STATE_SHORT[state]}</abbr>
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {channels.map(([channel, ofChannel]) => (
              <tr key={channel}>
                <th scope="row">{channel}</th>
                {states.map((state) => {
                  const many = ofChannel.get(state) ?? 0;
                  const isChosen = search.channel === channel && search.delivery === state;
                  return (
                    <td key={state} className={`of-number ${deliveryTone(state)}`}>
                      {many === 0 ? (
                        <span className="soft">0</span>
                      ) : (
                        <Link
                          to="/alerts"
                          search={{ tab: "deliveries", channel, delivery: state }}
                          aria-label={`${number(many)} on ${channel}: ${DELIVERY_STATE_WORDS[state]}`}
                          aria-current={isChosen ? "true" : undefined}
                          resetScroll={false}
                        >
                          {number(many)}
                        </Link>
                      )}
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Panel>
  );
}

function Failed() {
  const { data } = useInfiniteQuery(deliveriesQuery({ delivery: "dead" }, FAILURES));
  const { shown, stay } = useStaying(data?.pages[0]?.deliveries ?? []);
  if (shown.length === 0) return null;
  return (
    <Panel
      title="Failed"
      className="failures"
      note="Given up after ten attempts, or at once where the receiver wants no more of it."
    >
      <Rows rows={shown} label="Failed deliveries" onAgain={stay} />
      {data?.pages[0]?.next != null && (
        <p>
          <Link to="/alerts" search={{ tab: "deliveries", delivery: "dead" }}>
            All that failed
          </Link>
        </p>
      )}
    </Panel>
  );
}

function List({ title, search }: { title: string; search: AlertsSearch }) {
  const { data, error, refetch, hasNextPage, fetchNextPage, isFetchingNextPage } = useInfiniteQuery(
    deliveriesQuery(search),
  );
  const { shown, stay } = useStaying(data?.pages.flatMap(({ deliveries }) => deliveries) ?? []);
  return (
    <Panel title={title}>
      {data === undefined && shown.length === 0 ? (
        error === null ? (
          <Loading lines={6} />
        ) : (
          <Failure error={error} again={() => void refetch()} />
        )
      ) : shown.length === 0 ? (
        <p className="soft">None of these at present.</p>
      ) : (
        <Rows rows={shown} label={title} onAgain={stay} />
      )}
      {hasNextPage && (
        <p className="more">
          <button type="button" disabled={isFetchingNextPage} onClick={() => void fetchNextPage()}>
            {isFetchingNextPage ? "Loading" : "Show more"}
          </button>
        </p>
      )}
    </Panel>
  );
}

/**
 * Rows that were sent again stay where they were clicked, so that it can be seen what came of it,
 * although they may be no longer what the list is of.
 */
function useStaying(rows: readonly Delivery[]): {
  shown: readonly Delivery[];
  stay: (row: Delivery) => void;
} {
  const [clicked, setClicked] = useState<ReadonlyMap<string, Delivery>>(new Map());
  return {
    shown: staying(rows, clicked),
    stay: (row) =>
      setClicked((before) => (before.has(row.id) ? before : new Map(before).set(row.id, row))),
  };
}

function Rows({
  rows,
  label,
  onAgain,
}: {
  rows: readonly Delivery[];
  label: string;
  onAgain: (row: Delivery) => void;
}) {
  return (
    <ul className="deliveries" aria-label={label}>
      {rows.map((row) => (
        <Row key={row.id} listed={row} onAgain={onAgain} />
      ))}
    </ul>
  );
}

function Row({ listed, onAgain }: { listed: Delivery; onAgain: (row: Delivery) => void }) {
  const allowed = useMay("operate");
  const { send, again } = useSendAgain(listed);
  const row = "row" in again ? again.row : listed;
  const isUnderWay = again.state === "sending" || again.state === "under way";
  return (
    <li className={`delivery ${deliveryTone(row.state)}`}>
      <span className="became">{became(row)}</span>
      <div className="what">
        <span>
          <strong>{row.channel}</strong> {about(row)}
        </span>
        {row.user_id !== "" && (
          <Link to="/user" search={{ id: row.user_id }} className="id">
            {row.user_id}
          </Link>
        )}
        {row.reason !== "" && <span className="why">{row.reason}</span>}
        {row.state === "waiting" && row.attempts > 0 && !row.under_way && !isUnderWay && (
          <span className="soft">
            next attempt <Moment at={row.due} by="viewer" />
          </span>
        )}
      </div>
      <span className="soft tries">
        {row.attempts === 0 ? "no attempt" : count(row.attempts, "attempt")}
        {row.repeats > 0 && `, ${number(row.repeats)} perhaps repeated`}
      </span>
      <span className="when">
        <Moment at={row.updated} by="viewer" />
      </span>
      {allowed && mayResend(row) ? (
        <button
          type="button"
          className="quiet"
          disabled={isUnderWay}
          onClick={() => {
            onAgain(listed);
            send();
          }}
          aria-label={`Send again to ${row.channel}${row.user_id === "" ? "" : ` about ${row.user_id}`}`}
        >
          Send again
        </button>
      ) : (
        <span />
      )}
      <span role="status" className={`outcome ${again.state}`}>
        {againWords(again)}
      </span>
    </li>
  );
}

const EXAMPLE = `rules:
  - name: everybody
    threshold: 0.7
    channels: [team]
channels:
  - {name: team, kind: slack, url: "\${SLACK_URL}"}`;

function NoChannels() {
  const { data: policy } = useQuery(policyQuery);
  const named = policy?.channels.map(({ name }) => name) ?? [];
  return (
    <Empty title={named.length === 0 ? "Alerts are told to nobody yet" : "Nothing was told yet"}>
      {named.length === 0 ? (
        <>
          <p>
            Channels are named in the policy file: Slack, signed webhooks, e-mail and whatever
            Apprise speaks. Start with <code>ebbtide up --alert-policy policy.yaml</code>:
          </p>
          <pre className="example">{EXAMPLE}</pre>
        </>
      ) : (
        <p>
          The policy in force has {named.length === 1 ? "the channel" : "the channels"}{" "}
          {named.join(", ")}. Each alert of a rule that names one appears here.
        </p>
      )}
    </Empty>
  );
}
