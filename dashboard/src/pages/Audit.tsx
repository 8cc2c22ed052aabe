/** Who did what: the latest actions and logins, as the gateways noted them. */
import { keepPreviousData, queryOptions, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { body, gateway } from "../api/client.ts";
import { useMay } from "../api/session.ts";
import { Choice } from "../parts/Choice.tsx";
import { Moment } from "../parts/Moment.tsx";
import { Page, Panel } from "../parts/Page.tsx";
import { Empty, Failure, Loading } from "../parts/States.tsx";
import { outcome, told } from "../words/acts.ts";
import { number } from "../words/numbers.ts";

const ROWS = 50;

type Kind = "action" | "read";

const auditQuery = (kind: Kind, page: number) =>
  queryOptions({
    queryKey: ["audit", kind, page],
    queryFn: ({ signal }) =>
      body(
        gateway.GET("/audit", {
          params: { query: { limit: ROWS, skip: (page - 1) * ROWS, kind } },
          signal,
        }),
      ),
    placeholderData: keepPreviousData,
    refetchInterval: 5_000,
  });

export function Audit() {
  const allowed = useMay("operate");
  const { page = 1, kind = "action" } = useSearch({ from: "/audit" });
  const navigate = useNavigate({ from: "/audit" });
  const { data, error, refetch } = useQuery({ ...auditQuery(kind, page), enabled: allowed });
  const turn = (to: number) => void navigate({ search: { ...of(kind), ...(to > 1 && { page: to }) } });
  return (
    <Page
      title="Audit log"
      lead="Actions, also refused ones, logins, and who read of many users, newest first."
      aside={<Link to="/login">Your access</Link>}
    >
      <Choice
        name="Acts"
        options={[
          { value: "action", label: "What was done" },
          { value: "read", label: "Exports and mass reads" },
        ]}
        value={kind}
        choose={(chosen) => void navigate({ search: of(chosen) })}
      />
      {!allowed ? (
        <Empty title="Your key may not read this">
          <p>
            It takes the scope <code>operate</code>.
          </p>
        </Empty>
      ) : data === undefined ? (
        error !== null ? (
          <Failure error={error} again={() => void refetch()} />
        ) : (
          <Loading />
        )
      ) : data.acts.length === 0 ? (
        <Empty title={page > 1 ? "Nothing further back" : kind === "read" ? "Nobody has yet" : "Nobody has done anything yet"} />
      ) : (
        <Panel
          title={kind === "read" ? "Who read what" : "Who did what"}
          note={`The latest ${number(data.kept)} are kept here; the gateways' logs have all, as events called audit.`}
        >
          <div className="scroll" role="region" aria-label="The acts" tabIndex={0}>
            <table className="plain audit">
              <thead>
                <tr>
                  <th scope="col">When</th>
                  <th scope="col">Who</th>
                  <th scope="col">What</th>
                  <th scope="col">Outcome</th>
                  <th scope="col">From</th>
                </tr>
              </thead>
              <tbody>
                {data.acts.map((act, place) => {
                  const { what, whom } = told(act);
                  const came = outcome(act.status);
                  return (
                    // Acts have no name of their own, and never change places but all together.
                    <tr key={`${act.at} ${place}`}>
                      <td>
                        <Moment at={act.at} by="viewer" />
                      </td>
                      <td>{act.who === "" ? <i>not asked</i> : act.who}</td>
                      <td>
                        {what} {whom !== "" && <span className="id">{whom}</span>}
                        {act.said !== "" && <div className="note id">{act.said}</div>}
                      </td>
                      <td className={came.good ? "" : "wrong"}>{came.words}</td>
                      <td>{act.address}</td>
                    </tr>
                  );
                })}
              </tbody>
            </table>
          </div>
          <nav className="pager" aria-label="Pages of the log">
            <button type="button" disabled={page === 1} onClick={() => turn(page - 1)}>
              Newer
            </button>
            <button type="button" disabled={data.acts.length < ROWS} onClick={() => turn(page + 1)}>
              Older
            </button>
          </nav>
        </Panel>
      )}
    </Page>
  );
}

const of = (kind: Kind): { kind?: "read" } => (kind === "action" ? {} : { kind });
