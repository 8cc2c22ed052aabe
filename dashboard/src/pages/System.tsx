/** Whether the machine is healthy, as far as the gateway knows. */
import { useQuery } from "@tanstack/react-query";
import { useRef } from "react";
import { routes, total, type Families } from "../api/metrics.ts";
import { metricsQuery, readyQuery } from "../api/queries.ts";
import { Moment } from "../parts/Moment.tsx";
import { Figure, Page, Panel } from "../parts/Page.tsx";
import { Empty, Failure, Loading } from "../parts/States.tsx";
import { bytes, number, seconds } from "../words/numbers.ts";
import { span } from "../words/times.ts";

export function System() {
  return (
    <Page title="System" lead="The gateway, and what it depends on">
      <Dependencies />
      <Measured />
    </Page>
  );
}

function Dependencies() {
  const { data: ready, error, dataUpdatedAt } = useQuery(readyQuery);
  const states: readonly (readonly [string, string, string])[] =
    ready === undefined
      ? []
      : [
          ["Kafka", ready.kafka, "Without it events are refused, and alerts stand still."],
          ["Redis", ready.redis, "Without it users and alerts cannot be shown."],
        ];
  return (
    <Panel
      title="Dependencies"
      note={
        dataUpdatedAt > 0 ? (
          <>
            Asked <Moment at={dataUpdatedAt} by="viewer" />.
          </>
        ) : undefined
      }
    >
      <ul className="dependencies">
        <li className={error === null ? (ready === undefined ? "waiting" : "ok") : "away"}>
          <span className="dot" aria-hidden="true" />
          <strong>Gateway</strong>
          <span>{error === null ? (ready === undefined ? "asking" : "ok") : error.message}</span>
          <span className="note">{ready === undefined ? "" : `Predicts with ${ready.model}.`}</span>
        </li>
        {states.map(([name, state, meaning]) => (
          <li key={name} className={error !== null ? "waiting" : state === "ok" ? "ok" : "away"}>
            <span className="dot" aria-hidden="true" />
            <strong>{name}</strong>
            <span>{error !== null ? `was ${state}` : state}</span>
            <span className="note">{meaning}</span>
          </li>
        ))}
      </ul>
      <p className="note">
        The scorer and the alerts worker report on ports of their own, which <code>ebbtide up</code>{" "}
        names when it starts.
      </p>
    </Panel>
  );
}

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
        <div className="scroll" role="region" aria-label="Requests by route" tabIndex={0}>
          <table className="plain">
            <thead>
              <tr>
                <th scope="col">Route</th>
                <th scope="col" className="of-number">
                  Answered
                </th>
                <th scope="col" className="of-number">
                  Refused
                </th>
                <th scope="col" className="of-number">
                  Failed
                </th>
                <th scope="col" className="of-number">
                  Half within
                </th>
                <th scope="col" className="of-number">
                  99% within
                </th>
              </tr>
            </thead>
            <tbody>
              {rows.map((row) => (
                <tr key={row.route}>
                  <th scope="row">
                    <code>{row.route}</code>
                  </th>
                  <td className="of-number">{number(row.answered)}</td>
                  <td className="of-number">{number(row.refused)}</td>
                  <td className={`of-number${row.failed > 0 ? " bad" : ""}`}>
                    {number(row.failed)}
                  </td>
                  <td className="of-number">{row.half === null ? "" : seconds(row.half)}</td>
                  <td className="of-number">{row.most === null ? "" : seconds(row.most)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Panel>
  );
}
