/** Whether the machine is healthy: dependencies, workers, lag, timers, dead letters. */
import { useQuery } from "@tanstack/react-query";
import { useSearch } from "@tanstack/react-router";
import { memo, useDeferredValue, useRef } from "react";
import { routes, total, type Families } from "../api/metrics.ts";
import { systemQuery, type SystemPage } from "../api/machine.ts";
import { metricsQuery } from "../api/queries.ts";
import { Moment } from "../parts/Moment.tsx";
import { Figure, Page, Panel } from "../parts/Page.tsx";
import { Empty, Failure, Loading } from "../parts/States.tsx";
import { Scroll, Table, type Column } from "../parts/Table.tsx";
import { Tabs } from "../parts/Tabs.tsx";
import { SYSTEM_PARTS, systemPartOf, type SystemPart } from "../search.ts";
import { DeadLetters } from "../system/DeadLetters.tsx";
import { Held } from "../system/Replay.tsx";
import { troubles } from "../system/machine.ts";
import { Dependencies, Lag, Timers, Workers } from "../system/Overview.tsx";
import { bytes, number, seconds } from "../words/numbers.ts";
import { span } from "../words/times.ts";

const PART_WORDS: Readonly<Record<SystemPart, string>> = {
  machine: "Machine",
  letters: "Dead letters",
  requests: "Requests",
};

export function System() {
  const { data, error, refetch } = useQuery(systemQuery);
  const part = systemPartOf(useSearch({ from: "/system" }));
  // The tab is marked in the frame of the click, its part may come in the next.
  const shown = useDeferredValue(part);
  const parked = data?.page.dead_letters ?? null;
  const letters = parked?.reduce((sum, { records }) => sum + records, 0) ?? 0;
  return (
    <Page title="System" lead="The machine behind the scores">
      {data !== undefined && <Overall page={data.page} at={data.at} stale={error !== null} />}
      {data !== undefined && <Held page={data.page} />}
      <Tabs
        to="/system"
        tabs={SYSTEM_PARTS.map((each) => ({
          search: each === "machine" ? {} : { part: each },
          name: PART_WORDS[each],
          isCurrent: each === part,
          ...(each === "letters" && letters > 0 && { many: number(letters) }),
        }))}
      />
      {shown === "machine" &&
        (data !== undefined ? (
          <Machine page={data.page} />
        ) : error === null ? (
          <Loading />
        ) : (
          <Failure error={error} again={() => void refetch()} />
        ))}
      {shown === "letters" && <DeadLetters parked={parked} />}
      {shown === "requests" && <Measured />}
    </Page>
  );
}

function Overall({ page, at, stale }: { page: SystemPage; at: number; stale: boolean }) {
  const found = troubles(page);
  return (
    <div role="status" className={`overall ${found.length === 0 && !stale ? "ok" : "away"}`}>
      <p>
        <span className="dot" aria-hidden="true" />{" "}
        <strong>
          {stale
            ? "The gateway does not answer"
            : found.length === 0
              ? "Everything works"
              : found.length === 1
                ? "One thing needs a look"
                : `${found.length} things need a look`}
        </strong>{" "}
        <span className="note">
          {stale ? "what follows was so " : "as of "}
          <Moment at={at} by="viewer" />
        </span>
      </p>
      {found.length > 0 && (
        <ul>
          {found.map(({ what, why }) => (
            <li key={`${what} ${why}`}>
              <strong>{what}.</strong> {why}
            </li>
          ))}
        </ul>
      )}
      {page.troubles.length > 0 && (
        <p className="note">Not everything could be read: {page.troubles.join("; ")}.</p>
      )}
    </div>
  );
}

const Machine = memo(function Machine({ page }: { page: SystemPage }) {
  const rate = (name: string) => {
    const value = page.rates[name];
    return value === undefined ? "not known" : `${number(value)}/s`;
  };
  return (
    <>
      <dl className="figures five">
        <Figure name="Events folded" value={rate("events")} note="by all live scorers" />
        <Figure name="Scores" value={rate("scores")} note="published" />
        <Figure name="Alerts" value={rate("alerts")} note="published" />
        <Figure
          name="Newest event"
          value={page.newest_event === null ? "not known" : <Moment at={page.newest_event} />}
          note="log time of the newest that was folded"
        />
        <Figure
          name="Last score"
          value={
            page.newest_score === null ? "not known" : <Moment at={page.newest_score} by="viewer" />
          }
          note="seen within 5 s"
        />
      </dl>
      <div className="halves">
        <Dependencies page={page} />
        <Timers page={page} />
      </div>
      <Workers page={page} />
      <Lag page={page} />
    </>
  );
});

function Measured() {
  const { data, error, refetch } = useQuery(metricsQuery);
  if (data === undefined) {
    return error === null ? <Loading /> : <Failure error={error} again={() => void refetch()} />;
  }
  const { families, at } = data;
  const started = total(families, "process_start_time_seconds");
  const memory = total(families, "process_resident_memory_bytes");
  const rejected = total(families, "ebbtide_events_rejected_total");
  const dropped = total(families, "ebbtide_snapshots_dropped_total");
  return (
    <>
      <dl className="figures">
        <Figure
          name="Answers a second"
          value={<Rate families={families} at={at} name="ebbtide_http_requests_total" />}
          note="this page's own included"
        />
        <Figure
          name="Events accepted"
          value={number(total(families, "ebbtide_events_accepted_total") ?? 0)}
          note={`over HTTP; ${number(rejected ?? 0)} refused, ${number(dropped ?? 0)} snapshots dropped`}
        />
        {started !== null && (
          <Figure
            name="Up for"
            value={span(at - started * 1000)}
            note={
              <>
                since <Moment at={started * 1000} by="viewer" />
              </>
            }
          />
        )}
        {memory !== null && <Figure name="Memory" value={bytes(memory)} note="of the gateway" />}
      </dl>
      <Routes families={families} />
    </>
  );
}

/** Between the last two answers; a counter alone says nothing of now. */
function Rate({ families, at, name }: { families: Families; at: number; name: string }) {
  const value = total(families, name) ?? 0;
  const last = useRef({ at, value, rate: null as number | null });
  if (at !== last.current.at) {
    const grown = value - last.current.value;
    // It starts anew with the gateway.
    const rate = grown < 0 ? null : (grown / (at - last.current.at)) * 1000;
    last.current = { at, value, rate };
  }
  return <>{last.current.rate === null ? "…" : number(last.current.rate)}</>;
}

type Route = ReturnType<typeof routes>[number];

const ROUTES: readonly Column<Route>[] = [
  { name: "Route", as: "row", of: ({ route }) => <code>{route}</code> },
  { name: "Answered", as: "number", of: ({ answered }) => number(answered) },
  { name: "Refused", as: "number", of: ({ refused }) => number(refused) },
  {
    name: "Failed",
    as: "number",
    of: ({ failed }) => number(failed),
    isBad: ({ failed }) => failed > 0,
  },
  { name: "Half within", as: "number", of: ({ half }) => (half === null ? "" : seconds(half)) },
  { name: "99% within", as: "number", of: ({ most }) => (most === null ? "" : seconds(most)) },
];

function Routes({ families }: { families: Families }) {
  const rows = routes(families);
  return (
    <Panel
      title="Requests"
      note="Since the gateway started. Half, and 99 of 100, took at most that long."
    >
      {rows.length === 0 ? (
        <Empty title="No requests yet" />
      ) : (
        <Scroll label="Requests by route">
          <Table columns={ROUTES} rows={rows} />
        </Scroll>
      )}
    </Panel>
  );
}
