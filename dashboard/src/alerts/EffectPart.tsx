/** Whether users come back because of alerts: each rule against its holdout. */
import { useQuery } from "@tanstack/react-query";
import { effectQuery, policyQuery, type Effects, type RuleEffect } from "../api/alertQueries.ts";
import { IntervalBar } from "../charts/IntervalBar.tsx";
import { Panel } from "../parts/Page.tsx";
import { Empty, Failure, Loading } from "../parts/States.tsx";
import {
  points,
  scaleOf,
  share,
  VERDICT_HEADINGS,
  verdictWords,
  wait,
  widened,
} from "../words/effects.ts";
import { count, number, percent } from "../words/numbers.ts";
import { date } from "../words/times.ts";

export function EffectPart() {
  const { data, error, refetch } = useQuery(effectQuery);
  if (data === undefined)
    return error === null ? <Loading /> : <Failure error={error} again={() => void refetch()} />;
  if (data.rules.length === 0) return <Nothing effects={data} />;
  const reach = scaleOf(data.rules);
  const why = widened(data.rules);
  return (
    <div className="stack">
      <p className="note">
        Experiment <strong>{data.epoch}</strong>
        {data.share !== null && `, ${percent(data.share)} of users held out`}
        {data.since !== null && `, since ${date(Date.parse(data.since))}`}. Who came back did
        something within {data.horizon_days} days of their first alert in it; who was meant to be
        told counts as told. Look once, when as many users are known as you planned for: whoever
        looks every day will in the end take chance for an effect.
      </p>
      {why !== null && <p className="note">{why}</p>}
      {data.share === 0 && (
        <p className="banner simulated" role="note">
          The policy in force holds nobody out: nobody joins this experiment any more.
        </p>
      )}
      {data.rules.map((effect) => (
        <RulePanel
          key={effect.rule ?? ""}
          effect={effect}
          reach={reach}
          isOnly={data.rules.length === 2}
        />
      ))}
    </div>
  );
}

function RulePanel({
  effect,
  reach,
  isOnly,
}: {
  effect: RuleEffect;
  reach: number;
  isOnly: boolean;
}) {
  // Of one rule, what all together show is the same.
  if (isOnly && effect.rule !== null) return null;
  const tone =
    effect.verdict === "alerts help" ? "calm" : effect.verdict === "alerts harm" ? "high" : "open";
  const needed = wait(effect);
  const name =
    effect.rule === null ? (isOnly ? "Alerts" : "All rules together") : `Rule ${effect.rule}`;
  return (
    <Panel title={name} className={`effect ${tone}`}>
      <div className="shown">
        <p className="found">
          <strong>{VERDICT_HEADINGS[effect.verdict]}</strong> {verdictWords(effect)}
        </p>
        {effect.interval !== null && (
          <div>
            <IntervalBar
              interval={effect.interval}
              value={effect.difference}
              reach={reach}
              tone={tone}
            />
            <p className="ends" aria-hidden="true">
              <span>{points(-reach)}</span>
              <span>no effect</span>
              <span>{points(reach)}</span>
            </p>
          </div>
        )}
      </div>
      <div className="scroll" role="region" aria-label={`Retention by arm: ${name}`} tabIndex={0}>
        <table className="plain arms">
          <thead>
            <tr>
              <th scope="col">Users</th>
              <th scope="col" className="of-number">
                Known
              </th>
              <th scope="col" className="of-number">
                Came back
              </th>
              <th scope="col" className="of-number">
                Retention
              </th>
            </tr>
          </thead>
          <tbody>
            {(
              [
                ["told about", effect.treated],
                ["held out", effect.control],
              ] as const
            ).map(([name, arm]) => (
              <tr key={name}>
                <th scope="row">{name}</th>
                <td className="of-number">{number(arm.users)}</td>
                <td className="of-number">{number(arm.retained)}</td>
                <td className="of-number">{share(arm.retention)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <ul className="facts note">
        {effect.waiting > 0 && (
          <li>{count(effect.waiting, "more user")} joined too lately to know.</li>
        )}
        {effect.smallest !== null && (
          <li>
            So many users show a rise of {points(effect.smallest).replace("+", "")} or more (80 %
            power).
          </li>
        )}
        {needed !== null && <li>{needed}</li>}
      </ul>
    </Panel>
  );
}

function Nothing({ effects }: { effects: Effects }) {
  const { data: policy } = useQuery(policyQuery);
  if (effects.share !== null && effects.share > 0)
    return (
      <Empty title="Nobody takes part yet">
        <p>
          {percent(effects.share)} of users are held out. Whoever is alerted about for the first
          time from now on takes part, and counts once the model's horizon has passed.
        </p>
      </Empty>
    );
  return (
    <Empty title="Nobody can tell what alerts do">
      <p>
        {policy == null
          ? "No alerts worker has told its policy yet. Once one runs with a holdout, this page"
          : "The policy in force holds nobody out. With a holdout, this page"}{" "}
        compares users you were told about with users who were kept from you, by rule, and says "not
        yet known" until the difference is more than chance.
      </p>
      <pre className="example">{`holdout: {share: 0.1, epoch: "spring"}`}</pre>
      <p>
        Ask first how many alerts it takes:{" "}
        <code>ebbtide alerts holdout --retention 0.4 --share 0.1</code>
      </p>
    </Empty>
  );
}
