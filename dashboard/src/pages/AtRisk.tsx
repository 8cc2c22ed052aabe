/** Who is slipping away: users by risk. */
import { Select } from "@base-ui/react/select";
import { useQueries, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useDeferredValue } from "react";
import type { RankedUser, UserPage } from "../api/client.ts";
import { modelQuery, MOST_USERS, riskiestQuery, gentleUserQuery } from "../api/queries.ts";
import { Moment } from "../parts/Moment.tsx";
import { Page } from "../parts/Page.tsx";
import { Risk } from "../parts/Risk.tsx";
import { Empty, Failure, Loading } from "../parts/States.tsx";
import type { Sort } from "../search.ts";
import { csv, offer } from "../words/csv.ts";
import { number } from "../words/numbers.ts";
import { tone } from "../words/risk.ts";
import { PER_PAGE, shown, sorted } from "./ranking.ts";

const SORT_NAMES: Readonly<Record<Sort, string>> = {
  risk: "Highest risk",
  reached: "Threshold reached last",
  seen: "Seen last",
};

export function AtRisk() {
  const search = useSearch({ from: "/at-risk" });
  const navigate = useNavigate({ from: "/at-risk" });
  const ranked = useQuery(riskiestQuery(MOST_USERS));
  const { data: model } = useQuery(modelQuery);
  const sort = search.sort ?? "risk";
  const wanted = useDeferredValue(search.q ?? "");

  const users = ranked.data?.users ?? [];
  const found = sorted(shown(users, wanted), sort);
  const pages = Math.max(1, Math.ceil(found.length / PER_PAGE));
  const page = Math.min(search.page ?? 1, pages);
  const rows = found.slice((page - 1) * PER_PAGE, page * PER_PAGE);
  const asOf = ranked.data === undefined ? 0 : Date.parse(ranked.data.as_of);

  return (
    <Page
      title="At risk"
      lead={
        model === undefined
          ? "Users by the risk of doing nothing"
          : `Users by the risk of doing nothing for ${model.horizon_days} days`
      }
      aside={
        <button
          type="button"
          disabled={found.length === 0}
          onClick={() => offer("at-risk.csv", asCsv(found, ranked.data?.as_of ?? ""))}
        >
          Export CSV
        </button>
      }
    >
      <div className="controls" role="search">
        <label className="field">
          <span>User id contains</span>
          <input
            type="search"
            value={search.q ?? ""}
            onChange={({ target }) =>
              void navigate({
                search: ({ page: _, q: __, ...rest }) =>
                  target.value === "" ? rest : { ...rest, q: target.value },
                replace: true,
              })
            }
          />
        </label>
        <SortChoice
          sort={sort}
          choose={(chosen) =>
            void navigate({
              search: ({ page: _, sort: __, ...rest }) =>
                chosen === "risk" ? rest : { ...rest, sort: chosen },
            })
          }
        />
        <p className="note grow" role="status">
          {ranked.data !== undefined &&
            (users.length >= MOST_USERS
              ? `${number(found.length)} of the ${number(MOST_USERS)} at the highest risk`
              : `${number(found.length)} of ${number(users.length)} users`)}
        </p>
      </div>
      {ranked.data === undefined ? (
        ranked.error === null ? (
          <Loading lines={12} />
        ) : (
          <Failure error={ranked.error} again={() => void ranked.refetch()} />
        )
      ) : found.length === 0 ? (
        <Nobody searched={wanted !== ""} id={wanted} />
      ) : (
        <>
          <Table rows={rows} asOf={asOf} cutoff={model?.class_cutoff ?? 0.5} />
          <nav className="paging" aria-label="Pages of users">
            <PageLink page={page - 1} enabled={page > 1} name="Previous" />
            <span>
              {number((page - 1) * PER_PAGE + 1)}–{number((page - 1) * PER_PAGE + rows.length)} of{" "}
              {number(found.length)}
            </span>
            <PageLink page={page + 1} enabled={page < pages} name="Next" />
          </nav>
          <p className="note">
            Silence raises the risk in steps, the {model?.levels.length ?? ""} rungs of the model's
            ladder. The list shows the step reached; a user's page has the risk to the moment.
          </p>
        </>
      )}
    </Page>
  );
}

function Nobody({ searched, id }: { searched: boolean; id: string }) {
  if (!searched) {
    return (
      <Empty title="Nobody has been scored yet">
        <p>
          Send activity to <code>POST /events</code>, or start with <code>ebbtide up --demo</code>.
          Scores follow within moments.
        </p>
      </Empty>
    );
  }
  return (
    <Empty title="Nobody at high risk has such an id">
      <p>
        Only the {number(MOST_USERS)} at the highest risk are searched.{" "}
        <Link to="/user" search={{ id }}>
          Open the user “{id}”
        </Link>
      </p>
    </Empty>
  );
}

function SortChoice({ sort, choose }: { sort: Sort; choose: (sort: Sort) => void }) {
  const items = Object.entries(SORT_NAMES).map(([value, label]) => ({ value, label }));
  return (
    <div className="field">
      <span id="order">Order</span>
      <Select.Root items={items} value={sort} onValueChange={(chosen) => choose(chosen as Sort)}>
        <Select.Trigger className="select" aria-labelledby="order">
          <Select.Value />
          <Select.Icon className="chevron">
            <span />
          </Select.Icon>
        </Select.Trigger>
        <Select.Portal>
          <Select.Positioner sideOffset={4} alignItemWithTrigger={false}>
            <Select.Popup className="popup">
              {items.map(({ value, label }) => (
                <Select.Item key={value} value={value} className="item">
                  <Select.ItemText>{label}</Select.ItemText>
                </Select.Item>
              ))}
            </Select.Popup>
          </Select.Positioner>
        </Select.Portal>
      </Select.Root>
    </div>
  );
}

function PageLink({ page, enabled, name }: { page: number; enabled: boolean; name: string }) {
  if (!enabled) return <span className="step off">{name}</span>;
  return (
    <Link
      from="/at-risk"
      to="."
      className="step"
      search={({ page: _, ...rest }) => (page > 1 ? { ...rest, page } : rest)}
    >
      {name}
    </Link>
  );
}

function Table({
  rows,
  asOf,
  cutoff,
}: {
  rows: readonly RankedUser[];
  asOf: number;
  cutoff: number;
}) {
  // The list names no reasons; the page of a user does, and is then at hand when it is opened.
  const details = useQueries({
    queries: rows.map(({ user_id }) => ({
      ...gentleUserQuery(user_id),
      staleTime: 60_000,
    })),
  });
  return (
    <table className="users" role="table">
      <thead role="rowgroup">
        <tr role="row">
          <th scope="col" role="columnheader">
            User
          </th>
          <th scope="col" role="columnheader">
            Risk
          </th>
          <th scope="col" role="columnheader">
            Main reason
          </th>
          <th scope="col" role="columnheader">
            Last seen
          </th>
          <th scope="col" role="columnheader">
            Alert threshold
          </th>
        </tr>
      </thead>
      <tbody role="rowgroup">
        {rows.map((user, row) => (
          <Row
            key={user.user_id}
            user={user}
            known={details[row]?.data}
            asOf={asOf}
            cutoff={cutoff}
          />
        ))}
      </tbody>
    </table>
  );
}

function Row({
  user,
  known,
  asOf,
  cutoff,
}: {
  user: RankedUser;
  known: UserPage | undefined;
  asOf: number;
  cutoff: number;
}) {
  const reason = known?.explanation?.reasons.find(({ contribution }) => contribution > 0);
  // Without a rhythm of their own there is little to judge a user by.
  const faint = known !== undefined && known.evidence.usual_gap_hours === null;
  return (
    <tr role="row" className={faint ? "faint" : ""}>
      <th scope="row" role="rowheader">
        <Link to="/user" search={{ id: user.user_id }} className="id">
          {user.user_id}
        </Link>
        {faint && <span className="chip">little evidence</span>}
      </th>
      <td role="cell" className="of-risk">
        <Risk
          probability={user.churn_probability}
          tone={tone(user.churn_probability, user.at_risk_at, asOf, cutoff)}
        />
      </td>
      <td role="cell" className="of-reason">
        {reason?.text ?? (
          <span className={known === undefined ? "pending" : "soft"}>{without(known)}</span>
        )}
      </td>
      <td role="cell" className="of-seen">
        <span className="cell-name">Seen </span>
        {user.last_seen_at === null ? "never" : <Moment at={user.last_seen_at} />}
      </td>
      <td role="cell" className="of-threshold">
        <Threshold at={user.at_risk_at} asOf={asOf} />
      </td>
    </tr>
  );
}

function without(known: UserPage | undefined): string {
  if (known === undefined) return "…";
  return known.score === null ? "no activity is known" : "none stands out";
}

function Threshold({ at, asOf }: { at: string | null; asOf: number }) {
  if (at === null) return <>not by silence alone</>;
  return Date.parse(at) <= asOf ? (
    <>
      reached <Moment at={at} />
    </>
  ) : (
    <>
      <Moment at={at} /> if silent
    </>
  );
}

function asCsv(users: readonly RankedUser[], asOf: string): string {
  return csv([
    ["user_id", "churn_probability", "last_seen_at", "at_risk_at", "as_of"],
    ...users.map((user) => [
      user.user_id,
      user.churn_probability,
      user.last_seen_at,
      user.at_risk_at,
      asOf,
    ]),
  ]);
}
