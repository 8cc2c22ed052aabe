/** One user: how likely they are gone, why, how it went, and what would bring them back. */
import "../styles/user.css";
import { useQuery } from "@tanstack/react-query";
import { useSearch } from "@tanstack/react-router";
import { memo, type ReactNode } from "react";
import type { UserPage } from "../api/client.ts";
import { Refused } from "../api/client.ts";
import { modelQuery, userQuery } from "../api/queries.ts";
import { ReasonBars } from "../charts/ReasonBars.tsx";
import { Fold } from "../parts/Fold.tsx";
import { Moment } from "../parts/Moment.tsx";
import { Figure, Page, Panel } from "../parts/Page.tsx";
import { Empty, Failure, Loading, Lost } from "../parts/States.tsx";
import { Table, type Column } from "../parts/Table.tsx";
import { ActivityPanel } from "../user/ActivityPanel.tsx";
import { EpisodesPanel } from "../user/EpisodesPanel.tsx";
import { EventsPanel } from "../user/EventsPanel.tsx";
import { RiskPanel } from "../user/RiskPanel.tsx";
import { count, number, percent } from "../words/numbers.ts";
import { SIMULATOR, tone } from "../words/risk.ts";
import { HOUR, span } from "../words/times.ts";

export function User() {
  const { id } = useSearch({ from: "/user" });
  // With a key: what one user's page remembers is nothing of the next one's.
  return id === undefined ? <Lost /> : <Known key={id} id={id} />;
}

function Known({ id }: { id: string }) {
  const { span = "month", by = "pages" } = useSearch({ from: "/user" });
  const { data: user, error, refetch } = useQuery({ ...userQuery(id), refetchInterval: 10_000 });
  const unknown = error instanceof Refused && error.status === 404;
  if (user === undefined || unknown) {
    return (
      <Page title={id}>
        {error === null ? (
          <Loading />
        ) : unknown ? (
          <Empty title="Nothing is known of this user">
            <p>No activity is on record: none came, it was erased, or it is older than is kept.</p>
          </Empty>
        ) : (
          <Failure error={error} again={() => void refetch()} />
        )}
      </Page>
    );
  }
  return (
    <Page
      title={user.user_id}
      heading={<span className="id">{user.user_id}</span>}
      aside={<Chips user={user} />}
    >
      <Verdict user={user} />
      {error !== null && (
        <p className="banner lost" role="status">
          <strong>{error.message}.</strong> What you see may have changed since.
        </p>
      )}
      <div className="story">
        <div className="stack">
          <RiskPanel user={user} span={span} faint={isFaint(user)} />
          <Panel
            title="Why"
            note="Each bar begins where the one above ended. Base and reasons add up to the risk, in log-odds."
          >
            {user.explanation === null ? (
              <p>
                {user.score === null
                  ? "Without activity there is no score."
                  : "This model's scores are no sums."}
              </p>
            ) : (
              <ReasonBars explanation={user.explanation} />
            )}
          </Panel>
          <EpisodesPanel id={user.user_id} />
        </div>
        <div className="stack">
          <Comeback user={user} />
          <ActivityPanel user={user} measure={by} />
          <EventsPanel user={user} />
          <Evidence user={user} />
        </div>
      </div>
      <Numbers features={user.features} />
    </Page>
  );
}

function Chips({ user }: { user: UserPage }) {
  const { plan, location, device_type, referral_source } = user.attributes;
  const stated: readonly (readonly [string, string | null])[] = [
    ["plan", plan],
    ["location", location],
    ["device", device_type],
    ["came by", referral_source],
  ];
  return (
    <ul className="chips" aria-label="Profile">
      {user.cancelled && <li className="chip strong">cancelled</li>}
      {stated.map(
        ([name, value]) =>
          value !== null && (
            <li key={name} className="chip">
              <span className="soft">{name}</span> {value}
            </li>
          ),
      )}
      {user.attributes.value > 0 && (
        <li className="chip">
          <span className="soft">value</span> {number(user.attributes.value)}
        </li>
      )}
    </ul>
  );
}

const Verdict = memo(function Verdict({ user }: { user: UserPage }) {
  const { data: model } = useQuery(modelQuery);
  const { score } = user;
  if (score === null) {
    return <p className="verdict">Known by totals only. A score follows the first activity.</p>;
  }
  const shade = tone(
    score.churn_probability,
    user.at_risk_at,
    Date.parse(score.as_of),
    user.comeback?.below ?? 0.5,
  );
  return (
    <dl className={`figures verdict ${shade}${isLittle(user) ? " faint" : ""}`}>
      <Figure
        name={`Risk of doing nothing for ${score.horizon_days} days`}
        value={percent(score.churn_probability)}
        note={
          score.beyond_grid
            ? "silent for longer than the model knows; this is its last word"
            : `as of ${new Date(score.as_of).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" })}`
        }
      />
      <Figure
        name="Last seen"
        value={user.last_seen_at === null ? "never" : <Moment at={user.last_seen_at} />}
        note={
          user.evidence.usual_gap_hours === null
            ? "no rhythm known yet"
            : `usually every ${span(user.evidence.usual_gap_hours * HOUR)}`
        }
      />
      <Figure name="Alert threshold" {...threshold(user, Date.parse(score.as_of), model?.alert_threshold)} />
      <Figure
        name="With you since"
        value={since(user)}
        note={`${count(user.evidence.active_days, "active day")}, ${count(user.evidence.events, "event")}`}
      />
    </dl>
  );
});

function since(user: UserPage): ReactNode {
  const at = user.signed_up_at ?? user.first_seen_at;
  return at === null ? "unknown" : <Moment at={at} />;
}

function threshold(
  user: UserPage,
  now: number,
  level: number | undefined,
): { value: ReactNode; note: string } {
  const at = level === undefined ? "" : `a risk of ${percent(level)}, `;
  if (user.at_risk_at === null) return { value: "not reached", note: `${at}by silence alone` };
  const reached = Date.parse(user.at_risk_at) <= now;
  return {
    value: <Moment at={user.at_risk_at} />,
    note: `${at}${reached ? "when silence reached it" : "if they stay silent"}`,
  };
}

const Comeback = memo(function Comeback({ user }: { user: UserPage }) {
  const back = user.comeback;
  if (back === null) return null;
  return (
    <Panel title="What would bring them back">
      <p className="saying">{back.text}</p>
      <p className="note">
        An ordinary visit of theirs: {count(back.pages, "page")}, {count(back.minutes, "minute")}
        {user.evidence.usual_gap_hours !== null && <>, every {span(back.every_days * 24 * HOUR)}</>}
        . Counted as if it had happened, with the same model; it promises nothing about how to get
        there.
      </p>
    </Panel>
  );
});

/** Without a rhythm of their own there is little to judge them by. */
const isLittle = (user: UserPage): boolean => user.evidence.usual_gap_hours === null;

/** Whether the score is to be taken with care: see `Evidence` for why. */
const isFaint = (user: UserPage): boolean => isLittle(user) || user.score?.origin === SIMULATOR;

const Evidence = memo(function Evidence({ user }: { user: UserPage }) {
  const { missing } = user.evidence;
  return (
    <Panel title="What this rests on">
      {user.score !== null && isLittle(user) && (
        <p className="little">
          <strong>Little evidence.</strong> They have no rhythm of their own yet, so the score says
          what people like them did. Totals leave them out.
        </p>
      )}
      <ul className="facts">
        <li>
          {count(user.evidence.events, "event")} on {count(user.evidence.active_days, "day")}
        </li>
        <li>
          first seen {user.first_seen_at === null ? "never" : <Moment at={user.first_seen_at} />},
          signed up {user.signed_up_at === null ? "unknown" : <Moment at={user.signed_up_at} />}
        </li>
        {missing.length > 0 && (
          <li>never stated: {missing.map((each) => each.replaceAll("_", " ")).join(", ")}</li>
        )}
        <li>
          record up to log {user.position.log}, partition {user.position.partition}, offset{" "}
          {number(user.position.offset)}
        </li>
        {user.score !== null && (
          <li>
            model <code>{user.score.model_version}</code>
          </li>
        )}
      </ul>
    </Panel>
  );
});

const Numbers = memo(function Numbers({ features }: { features: UserPage["features"] }) {
  const { data: model } = useQuery(modelQuery);
  const described = new Map(
    [...(model?.features ?? []), ...(model?.predict_inputs ?? [])].map((each) => [each.name, each]),
  );
  const columns: readonly Column<readonly [string, number | null]>[] = [
    { name: "Name", as: "row", of: ([name]) => name.replaceAll("_", " ") },
    {
      name: "Value",
      as: "number",
      of: ([, value]) => (value === null ? "unknown" : number(value)),
    },
    { name: "Unit", of: ([name]) => described.get(name)?.unit },
    { name: "What it is", of: ([name]) => described.get(name)?.definition },
  ];
  const rows = Object.entries(features);
  return (
    <Panel title="Everything the model reads">
      <Fold summary={count(rows.length, "number")}>
        <Table columns={columns} rows={rows} />
      </Fold>
    </Panel>
  );
});
