/** Who is slipping away: users by risk, by the money at risk or by how far the risk has risen. */
import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useRouterState, useSearch } from "@tanstack/react-router";
import type { RankedUser } from "../api/client.ts";
import { Refused } from "../api/client.ts";
import { modelQuery, rankedQuery } from "../api/queries.ts";
import { Moment } from "../parts/Moment.tsx";
import { Page } from "../parts/Page.tsx";
import { Risk } from "../parts/Risk.tsx";
import { Empty, Failure, Loading } from "../parts/States.tsx";
import { count, number, percent } from "../words/numbers.ts";
import { tone } from "../words/risk.ts";
import type { AtRiskSearch } from "../search.ts";
import { AtRiskFilters, type Change } from "./AtRiskFilters.tsx";
import { exportAddress, leftOut, narrowing, PER_PAGE, reach, rise, shown } from "./ranking.ts";

declare module "@tanstack/react-router" {
  interface HistoryState {
    /** Cursors of the pages before this one; "" is the first page's. */
    before?: readonly string[];
  }
}

export function AtRisk() {
  const search = useSearch({ from: "/at-risk" });
  const navigate = useNavigate({ from: "/at-risk" });
  const ranked = useQuery(rankedQuery(search));
  const { data: model } = useQuery(modelQuery);
  const page = ranked.data;
  const users = page === undefined ? [] : shown(page);

  // Any other list begins at its first page.
  const change = (to: Change, whileTyping = false) =>
    void navigate({
      search: ({ after: _, ...before }) => without({ ...before, ...to }),
      replace: whileTyping,
    });

  return (
    <Page
      title="At risk"
      lead={
        model === undefined
          ? "Users by the risk of doing nothing"
          : `Users by the risk of doing nothing for ${model.horizon_days} days`
      }
      aside={
        <a className="step" href={exportAddress(search)} download>
          Export CSV
        </a>
      }
    >
      <AtRiskFilters search={search} change={change} users={users} />
      <p className="note summary" role="status">
        {page !== undefined && (
          <>
            <span>
              {count(page.last.ranked, "user")}
              {search.order === "value" && " with money"}
              {narrowing(search) > 0 || search.q !== undefined ? " searched." : "."}
            </span>{" "}
            <span>{leftOut(page.last.left_out)}</span> <span>{reach(page, search)}</span>
          </>
        )}
      </p>
      {page === undefined ? (
        ranked.error === null ? (
          <Loading lines={12} />
        ) : (
          <Failed error={ranked.error} again={() => void ranked.refetch()} />
        )
      ) : ranked.error instanceof Refused && ranked.error.status === 422 ? (
        <Failed error={ranked.error} />
      ) : users.length === 0 && page.next === null && search.after === undefined ? (
        <Nobody search={search} known={page.last.ranked} />
      ) : (
        <>
          {users.length > 0 && (
            <Table
              rows={users}
              search={search}
              asOf={Date.parse(page.last.as_of)}
              cutoff={model?.class_cutoff ?? 0.5}
              busy={ranked.isPlaceholderData}
            />
          )}
          <Paging
            search={search}
            next={page.next}
            full={page.users.length >= PER_PAGE}
            busy={ranked.isPlaceholderData}
          />
          <p className="note">
            Silence raises the risk in steps, the {model?.levels.length ?? ""} rungs of the model's
            ladder
            {model !== undefined &&
              `; high risk is ${percent(model.alert_threshold)}, where alerts open`}
            . The list shows the step reached; a user's page has the risk to the moment. Pages
            follow the last score, which is renewed at every step. A change is what silence has
            added within 7 days.
          </p>
        </>
      )}
    </Page>
  );
}

function without(search: Change): AtRiskSearch {
  return Object.fromEntries(
    Object.entries(search).filter(([, value]) => value !== undefined),
  ) as AtRiskSearch;
}

function Failed({ error, again }: { error: Error; again?: () => void }) {
  return (
    <>
      <Failure error={error} {...(again !== undefined && { again })} />
      {error instanceof Refused && error.status === 422 && (
        <p className="more">
          <Link to="/at-risk" search={{}}>
            Begin at the first page
          </Link>
        </p>
      )}
    </>
  );
}

function Nobody({ search, known }: { search: AtRiskSearch; known: number }) {
  const narrowed = narrowing(search) > 0 || search.q !== undefined;
  if (narrowed || known > 0) {
    return (
      <Empty title={narrowed ? "Nobody in the list fits" : "Nobody has money at risk"}>
        <p>
          {search.q !== undefined && (
            <>
              An id is searched from its beginning, to the letter.{" "}
              <Link to="/user" search={{ id: search.q }}>
                Open the user “{search.q}”
              </Link>{" "}
              or{" "}
            </>
          )}
          <Link to="/at-risk" search={{}}>
            see all users at risk
          </Link>
        </p>
      </Empty>
    );
  }
  return (
    <Empty title="Nobody has been scored yet">
      <p>
        Send activity to <code>POST /events</code>, or start with <code>ebbtide up --demo</code>.
        Scores follow within moments. Users come into this list with their third visit.{" "}
        <Link to="/at-risk" search={{ evidence: "any", cancelled: "include" }}>
          Show everybody
        </Link>
      </p>
    </Empty>
  );
}

function Paging({
  search,
  next,
  full,
  busy,
}: {
  search: AtRiskSearch;
  next: string | null;
  full: boolean;
  /** What is shown, and where it goes on, is still of the list before. */
  busy: boolean;
}) {
  const before = useRouterState({ select: ({ location }) => location.state.before ?? [] });
  const { after, ...list } = search;
  const previous = before.at(-1);
  const first = after === undefined;
  return (
    <nav className="paging" aria-label="Pages of users">
      {first ? (
        <span className="step off">Previous</span>
      ) : (
        <Link
          to="/at-risk"
          className="step"
          search={previous === undefined || previous === "" ? list : { ...list, after: previous }}
          state={{ before: before.slice(0, -1) }}
        >
          {previous === undefined ? "First page" : "Previous"}
        </Link>
      )}
      <span>{previous === undefined ? (first ? "Page 1" : "") : `Page ${before.length + 1}`}</span>
      {next === null ? (
        <span className="step off">Next</span>
      ) : (
        <Link
          to="/at-risk"
          className={busy ? "step off" : "step"}
          disabled={busy}
          tabIndex={0}
          search={{ ...list, after: next }}
          state={{ before: [...before, after ?? ""] }}
        >
          {full ? "Next" : "Go on looking"}
        </Link>
      )}
    </nav>
  );
}

function Table({
  rows,
  search,
  asOf,
  cutoff,
  busy,
}: {
  rows: readonly RankedUser[];
  search: AtRiskSearch;
  asOf: number;
  cutoff: number;
  busy: boolean;
}) {
  const money = search.order === "value" || rows.some(({ monthly_value }) => monthly_value > 0);
  const sorted = (order: string) =>
    (search.order ?? "risk") === order ? { "aria-sort": "descending" as const } : {};
  return (
    <table className={busy ? "users busy" : "users"} role="table" aria-busy={busy}>
      <thead role="rowgroup">
        <tr role="row">
          <th scope="col" role="columnheader">
            User
          </th>
          <th scope="col" role="columnheader" {...sorted("risk")}>
            Risk
          </th>
          <th scope="col" role="columnheader" {...sorted("change")}>
            In 7 days
          </th>
          <th scope="col" role="columnheader">
            Main reason
          </th>
          {money && (
            <th scope="col" role="columnheader" {...sorted("value")}>
              At risk a month
            </th>
          )}
          <th scope="col" role="columnheader">
            Last seen
          </th>
          <th scope="col" role="columnheader">
            High risk
          </th>
        </tr>
      </thead>
      <tbody role="rowgroup">
        {rows.map((user) => (
          <Row key={user.user_id} user={user} asOf={asOf} cutoff={cutoff} money={money} />
        ))}
      </tbody>
    </table>
  );
}

function Row({
  user,
  asOf,
  cutoff,
  money,
}: {
  user: RankedUser;
  asOf: number;
  cutoff: number;
  money: boolean;
}) {
  const { attributes, open_alert: alert } = user;
  const known = [attributes.plan, attributes.location, attributes.device_type].filter(
    (name) => name !== null,
  );
  return (
    <tr role="row" className={user.little_evidence || user.cancelled || user.lapsed ? "faint" : ""}>
      <th scope="row" role="rowheader" className="of-user">
        <Link to="/user" search={{ id: user.user_id }} className="id">
          {user.user_id}
        </Link>
        <span className="chips">
          {alert !== null && (
            <Link to="/user" search={{ id: user.user_id }} className="chip strong">
              {alert.acknowledged_at === null ? "alert" : "taken on"}: {alert.rule}
            </Link>
          )}
          {user.cancelled && <span className="chip">cancelled</span>}
          {user.lapsed && <span className="chip">lapsed</span>}
          {user.little_evidence && <span className="chip">little evidence</span>}
        </span>
        {known.length > 0 && <span className="note known">{known.join(" · ")}</span>}
      </th>
      <td role="cell" className="of-risk">
        <Risk
          probability={user.churn_probability}
          tone={tone(user.churn_probability, user.at_risk_at, asOf, cutoff)}
        />
      </td>
      <td role="cell" className="of-change">
        <span className={user.change > 0 ? "" : "nothing"}>{rise(user.change)}</span>
        {user.change > 0 && <span className="cell-name"> in 7 days</span>}
      </td>
      <td role="cell" className="of-reason">
        {user.reason ?? <span className="soft">none stands out</span>}
      </td>
      {money && (
        <td role="cell" className="of-money" title={`${number(user.monthly_value)} a month`}>
          {user.value_at_risk > 0 ? (
            <>
              {number(user.value_at_risk)}
              <span className="cell-name"> at risk a month</span>
            </>
          ) : (
            <span className="nothing">—</span>
          )}
        </td>
      )}
      <td role="cell" className="of-seen">
        <span className="cell-name">Seen </span>
        {user.last_seen_at === null ? "never" : <Moment at={user.last_seen_at} asOf={asOf} />}
      </td>
      <td role="cell" className="of-threshold">
        <Threshold at={user.at_risk_at} asOf={asOf} />
      </td>
    </tr>
  );
}

function Threshold({ at, asOf }: { at: string | null; asOf: number }) {
  if (at === null) return <>not by silence</>;
  return Date.parse(at) <= asOf ? (
    <>
      <span className="cell-name">high risk </span>reached <Moment at={at} asOf={asOf} />
    </>
  ) : (
    <>
      <span className="cell-name">high risk </span>
      <Moment at={at} asOf={asOf} /> if silent
    </>
  );
}
