/** What the user did last, visit by visit. */
import { useQuery } from "@tanstack/react-query";
import { memo, useState } from "react";
import type { UserPage } from "../api/client.ts";
import { userEventsQuery } from "../api/queries.ts";
import { Moment } from "../parts/Moment.tsx";
import { Panel } from "../parts/Page.tsx";
import { Failure, Loading } from "../parts/States.tsx";
import { count, number } from "../words/numbers.ts";
import { MINUTE, span } from "../words/times.ts";
import { happenings, typeName, typesOf, type Happening, type Note, type Visit } from "./visits.ts";

const AT_FIRST = 6;

export const EventsPanel = memo(function EventsPanel({ user }: { user: UserPage }) {
  const { data, error, refetch } = useQuery({
    ...userEventsQuery(user.user_id),
    refetchInterval: 10_000,
  });
  const [all, setAll] = useState(false);
  const found = happenings(data?.events ?? []);
  const shown = all ? found : found.slice(0, AT_FIRST);
  return (
    <Panel title="What they did" note={data === undefined ? undefined : reach(data.state)}>
      {error !== null && data === undefined ? (
        <Failure error={error} again={() => void refetch()} />
      ) : data === undefined ? (
        <Loading lines={4} />
      ) : found.length === 0 ? (
        data.state !== "off" && <p>No event of this user is kept.</p>
      ) : (
        <>
          <ol className="happenings">
            {shown.map((each) => (
              <Row key={`${each.from}-${each.kind}`} happening={each} />
            ))}
          </ol>
          {found.length > shown.length && (
            <p className="more">
              <button type="button" className="quiet" onClick={() => setAll(true)}>
                {count(found.length - shown.length, "earlier entry", "earlier entries")}
              </button>
            </p>
          )}
          {data.has_older && found.length === shown.length && (
            <p className="note">
              {number(user.evidence.events)} events count in all; the last {data.events.length} are
              kept.
            </p>
          )}
        </>
      )}
    </Panel>
  );
});

function reach(state: "complete" | "behind" | "off"): string | undefined {
  if (state === "off")
    return "Events are not kept here (EBBTIDE_TIMELINE_EVENTS, `ebbtide history`).";
  return state === "behind" ? "The latest events are still being read." : undefined;
}

function Row({ happening }: { happening: Happening }) {
  return happening.kind === "visit" ? <VisitRow visit={happening} /> : <NoteRow note={happening} />;
}

function VisitRow({ visit }: { visit: Visit }) {
  const length = visit.to - visit.from;
  const facts = [
    visit.pages > 0 ? count(visit.pages, "page") : null,
    visit.minutes > 0 ? count(visit.minutes, "minute") : null,
    visit.value !== null ? `${number(visit.value)} spent` : null,
  ].filter((each) => each !== null);
  return (
    <li className={visit.value === null ? "visit" : "visit paid"}>
      <div className="title">
        <strong>
          <Moment at={visit.from} />
        </strong>
        <span className="soft">
          {[length >= MINUTE ? `for ${span(length)}` : null, ...facts]
            .filter((each) => each !== null)
            .join(", ")}
        </span>
      </div>
      {visit.events.length === 1 ? (
        <p className="types">{typeName(visit.events[0]?.type ?? "")}</p>
      ) : (
        <details>
          <summary>
            {typesOf(visit.events)
              .map(({ type, times }) =>
                times === 1 ? typeName(type) : `${typeName(type)} ×${times}`,
              )
              .join(", ")}
          </summary>
          <ol className="each">
            {visit.events.map((event, at) => (
              <li key={at}>
                <Moment at={event.occurred_at} /> <span>{typeName(event.type)}</span>
                {event.pages > 1 && <span className="soft">{count(event.pages, "page")}</span>}
                {event.minutes > 0 && (
                  <span className="soft">{count(event.minutes, "minute")}</span>
                )}
                {event.value !== null && <span className="soft">{number(event.value)}</span>}
              </li>
            ))}
          </ol>
        </details>
      )}
    </li>
  );
}

function NoteRow({ note: { event } }: { note: Note }) {
  return (
    <li className="aside">
      <div className="title">
        <strong>
          <Moment at={event.occurred_at} />
        </strong>
        <span className="soft">
          {event.type === "snapshot"
            ? `totals stated: ${count(event.pages, "page")}, ${count(event.minutes, "minute")}`
            : `${typeName(event.type)}, not counted as activity`}
          {event.value !== null && `, ${number(event.value)}`}
        </span>
      </div>
    </li>
  );
}
