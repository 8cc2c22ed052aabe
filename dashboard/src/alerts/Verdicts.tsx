/** What people said alerts were worth, by rule. */
import { Toggle } from "@base-ui/react/toggle";
import { ToggleGroup } from "@base-ui/react/toggle-group";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { verdictsQuery, type RuleVerdicts } from "../api/alertQueries.ts";
import { Moment } from "../parts/Moment.tsx";
import { Panel } from "../parts/Page.tsx";
import { Empty, Failure, Loading } from "../parts/States.tsx";
import { VERDICTS, type AlertsSearch } from "../search.ts";
import { VERDICT_WORDS } from "../user/lives.ts";
import { count, number, percent } from "../words/numbers.ts";
import { useNarrow } from "./Filters.tsx";

const COLUMNS: Readonly<Record<(typeof VERDICTS)[number], string>> = {
  helped: "Helped",
  wrong: "Wrong",
  duplicate: "Nothing new",
};

export function Verdicts({ search }: { search: AlertsSearch }) {
  const narrow = useNarrow();
  const { data, error, refetch } = useQuery(verdictsQuery(search));
  if (data === undefined)
    return error === null ? <Loading /> : <Failure error={error} again={() => void refetch()} />;
  if (data.counts.length === 0)
    return (
      <Empty title="Nobody has said what alerts were worth">
        <p>
          Choose <em>Act</em> beside an alert, or on a user's page. Verdicts become labels:{" "}
          <code>ebbtide train --use-verdicts</code> learns from them.
        </p>
      </Empty>
    );
  return (
    <div className="stack">
      <Panel
        title="By rule"
        note="The last verdict on each episode counts. Whoever answers chooses what to answer on: these shares are not the precision of a rule."
      >
        <div className="scroll" role="region" aria-label="Verdicts by rule" tabIndex={0}>
          <table className="plain counts">
            <thead>
              <tr>
                <th scope="col">Rule</th>
                {VERDICTS.map((each) => (
                  <th key={each} scope="col" className="of-number">
                    {COLUMNS[each]}
                  </th>
                ))}
                <th scope="col" className="of-share">
                  <span className="unseen">Shares</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {data.counts.map((of) => (
                <RuleRow key={of.rule} of={of} />
              ))}
            </tbody>
          </table>
        </div>
      </Panel>
      <Panel title={count(data.found, "verdict")}>
        <ToggleGroup
          className="toggles wide"
          aria-label="Only"
          value={[search.verdict ?? "all"]}
          onValueChange={([to]) => narrow({ verdict: VERDICTS.find((each) => each === to) })}
        >
          <Toggle value="all">All</Toggle>
          {VERDICTS.map((each) => (
            <Toggle key={each} value={each}>
              {COLUMNS[each]}
            </Toggle>
          ))}
        </ToggleGroup>
        {data.verdicts.length === 0 && <p className="soft">None of these.</p>}
        <ul className="verdicts">
          {data.verdicts.map((said) => (
            <li key={said.dedup_key} className={said.verdict}>
              <span className="said">{VERDICT_WORDS[said.verdict]}</span>
              <div className="what">
                <Link to="/user" search={{ id: said.user_id }} className="id">
                  {said.user_id}
                </Link>
                {said.rule !== "default" && <span className="chip">{said.rule}</span>}
                {said.note !== "" && <q>{said.note}</q>}
                {said.actor !== "" && <span className="soft">{said.actor}</span>}
              </div>
              <span className="when">
                <Moment at={said.at} />
              </span>
            </li>
          ))}
        </ul>
        {data.found > data.verdicts.length && (
          <p className="note">
            The latest {number(data.verdicts.length)}; <code>ebbtide alerts verdicts</code> has all.
          </p>
        )}
      </Panel>
    </div>
  );
}

function RuleRow({ of }: { of: RuleVerdicts }) {
  const all = of.helped + of.wrong + of.duplicate;
  let from = 0;
  return (
    <tr>
      <th scope="row">{of.rule}</th>
      {VERDICTS.map((each) => (
        <td key={each} className="of-number">
          {number(of[each])}
          {of[each] > 0 && <span className="soft"> {percent(of[each] / all)}</span>}
        </td>
      ))}
      <td className="of-share">
        <svg aria-hidden="true" focusable="false" className="shares">
          {VERDICTS.map((each) => {
            const x = from;
            from += of[each] / all;
            return (
              <rect
                key={each}
                className={each}
                x={`${x * 100}%`}
                width={`${(of[each] / all) * 100}%`}
                height="100%"
              />
            );
          })}
        </svg>
      </td>
    </tr>
  );
}
