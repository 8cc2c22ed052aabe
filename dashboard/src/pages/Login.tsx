/** Who is logged in, what they may, and the way out. The form itself stands in for any page. */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { logOut, sessionQuery, type Scope } from "../api/session.ts";
import { Moment } from "../parts/Moment.tsx";
import { Page, Panel } from "../parts/Page.tsx";
import { Failure, Loading } from "../parts/States.tsx";

const MEANING: Readonly<Record<Scope, string>> = {
  write: "send events and predict",
  read: "look at users, scores, alerts, the model and the system",
  operate: "act on alerts and deliveries, erase users, read the audit log",
};

export function Login() {
  const queries = useQueryClient();
  const { data, error } = useQuery(sessionQuery);
  const leave = useMutation({ mutationFn: () => logOut(queries) });
  if (error !== null) return <Failure error={error} />;
  if (data === undefined) return <Loading lines={3} />;
  return (
    <Page
      title="Your access"
      lead={
        data.needs_key
          ? `Logged in with the key ${data.name ?? ""}.`
          : "This gateway asks nobody for a key: only this machine reaches it."
      }
    >
      <Panel title="You may">
        <ul className="scopes">
          {data.scopes.map((scope) => (
            <li key={scope}>
              <code>{scope}</code> {MEANING[scope]}
            </li>
          ))}
        </ul>
        {data.expires_at !== null && (
          <p>
            The login ends <Moment at={data.expires_at} by="viewer" />, or with the key.
          </p>
        )}
        {data.scopes.includes("operate") && (
          <p>
            <Link to="/audit" search={{}}>
              Who did what
            </Link>
          </p>
        )}
        {data.via === "session" && (
          <p>
            <button type="button" disabled={leave.isPending} onClick={() => leave.mutate()}>
              Log out
            </button>
          </p>
        )}
        {leave.error !== null && <Failure error={leave.error} />}
      </Panel>
    </Page>
  );
}
