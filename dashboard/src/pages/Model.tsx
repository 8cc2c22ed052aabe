/** The model behind every score: what it learned from, how good it is, whether that still holds. */
import { useQuery } from "@tanstack/react-query";
import { Link, useSearch } from "@tanstack/react-router";
import type { Model as ModelAnswer } from "../api/client.ts";
import { driftQuery, qualityQuery, type Quality as Kept } from "../api/machine.ts";
import { modelQuery } from "../api/queries.ts";
import { Drift } from "../model/Drift.tsx";
import { Concepts, Features } from "../model/Features.tsx";
import { LiftPlot, ReliabilityPlot } from "../model/Plots.tsx";
import { isOff, momentsName } from "../model/quality.ts";
import { Moment } from "../parts/Moment.tsx";
import { Figure, Page, Panel } from "../parts/Page.tsx";
import { Failure, Loading } from "../parts/States.tsx";
import { count, number, percent } from "../words/numbers.ts";
import { date } from "../words/times.ts";

type Figures = NonNullable<ModelAnswer["metrics"]>;

export function Model() {
  const { data: model, error, refetch } = useQuery(modelQuery);
  const { data: told } = useQuery(qualityQuery);
  const { data: drift } = useQuery(driftQuery);
  const { moments = "all", order = "effect" } = useSearch({ from: "/model" });
  if (model === undefined) {
    return (
      <Page title="Model">
        {error === null ? <Loading /> : <Failure error={error} again={() => void refetch()} />}
      </Page>
    );
  }
  const quality = told?.quality ?? null;
  return (
    <Page
      title="Model"
      heading={
        <>
          Model <span className="id">{model.version}</span>
        </>
      }
      lead={`Answers one question: how likely does a user do nothing for ${model.horizon_days} days?`}
      aside={
        model.has_report ? (
          <a className="step" href="/model/report" target="_blank" rel="noreferrer">
            Training report
          </a>
        ) : undefined
      }
    >
      {model.is_simulated && (
        <p className="banner simulated">
          <strong>No real user taught this model.</strong> Its figures show that the machinery
          works. They say nothing about your users: <code>ebbtide train --events FILE</code> learns
          from them.
        </p>
      )}
      <dl className="figures five">
        <Figure
          name="Learned from"
          value={model.is_simulated ? "simulated users" : model.origin}
          note={`${day(model.trained.start)} to ${day(model.trained.end)}${model.memory_days === null ? "" : `; older than ${number(model.memory_days)} days did not help`}`}
        />
        <Figure
          name="Moments learned from"
          value={number(model.rows["total"] ?? 0)}
          note={Object.entries(model.rows)
            .filter(([name]) => name !== "total")
            .map(([name, rows]) => `${number(rows)} ${name.replaceAll("_", " ")}`)
            .join(", ")}
        />
        <Figure name="Kind" value={candidate(model.candidate)} note={model.chosen_because} />
        <Figure
          name="Counts as churn"
          value={`${number(model.horizon_days)} days`}
          note={`${model.churn}; predicted from ${percent(model.class_cutoff)} on, no score beyond ${number(model.silence_grid_days)} days of silence`}
        />
        <Figure
          name="Newest event"
          value={drift?.newest_event == null ? "not known" : <Moment at={drift.newest_event} />}
          note={
            drift?.newest_score == null ? (
              "no scorer tells of a score"
            ) : (
              <>
                last score <Moment at={drift.newest_score} by="viewer" />
              </>
            )
          }
        />
      </dl>
      {model.notes.length > 0 && (
        <Panel title="Before you act on it" className="full">
          <ul className="notes">
            {model.notes.map((note) => (
              <li key={note}>{note}</li>
            ))}
          </ul>
        </Panel>
      )}
      <div className="halves">
        {quality !== null && (
          <Calibration quality={quality} moments={moments} adopted={model.calibration} />
        )}
        {quality !== null && quality.lift.length > 0 && (
          <Panel
            title="Lift"
            note="Whoever contacts the riskiest users first reaches churners sooner than by chance, which is the dashed line."
          >
            <LiftPlot lift={quality.lift} />
          </Panel>
        )}
        {model.metrics !== null && (
          <Quality
            title="How good the scores are"
            figures={model.metrics}
            note={`On moments after ${day(model.validated_from)}, which it did not learn from.`}
          />
        )}
        <Silence silence={model.silence} />
        <Drift />
        {quality !== null && <Concepts concepts={quality.concepts} />}
        <Quality
          title="How good /predict is"
          figures={model.predict_metrics}
          note={`The smaller model behind /predict reads four totals, no behaviour over time${model.predict_origin === model.origin ? "" : `; it learned from ${model.predict_origin}`}.`}
        />
        <Periods periods={model.periods} rates={model.base_rates} />
        <Panel
          title="The ladder"
          note="Silence is scored each time the risk reaches one of these rungs; alert thresholds snap to the nearest."
        >
          <ol className="ladder">
            {model.levels.map((level) => (
              <li key={level}>
                <svg aria-hidden="true" focusable="false">
                  <rect
                    y={`${100 - level * 100}%`}
                    width="100%"
                    height={`${level * 100}%`}
                    rx="2"
                  />
                </svg>
                <span>{percent(level)}</span>
              </li>
            ))}
          </ol>
        </Panel>
        <Features
          features={model.features}
          effects={quality?.features ?? []}
          drift={drift?.features ?? []}
          order={order}
        />
      </div>
      {told !== undefined && quality === null && (
        <p className="note">
          This model came without what it learned from, so calibration, effects and drift cannot be
          shown: train it again, or copy all of its files.
        </p>
      )}
    </Page>
  );
}

const day = (moment: string): string => date(Date.parse(moment));

function Calibration({
  quality,
  moments,
  adopted,
}: {
  quality: Kept;
  moments: string;
  adopted: string;
}) {
  const shown = quality.reliability[moments] === undefined ? "all" : moments;
  const found = quality.reliability[shown];
  if (found === undefined) return null;
  return (
    <Panel
      title="Are its probabilities right?"
      note="A dot is a fifteenth of the moments: what was predicted, and how many churned, with the 95% that chance allows. On the dashed line both are the same."
    >
      <nav aria-label="Which moments" className="orders">
        {Object.keys(quality.reliability).map((each) => (
          <Link
            key={each}
            from="/model"
            to="/model"
            search={(before) => {
              const { moments: _, ...rest } = before;
              return each === "all" ? rest : { ...rest, moments: each };
            }}
            replace
            resetScroll={false}
            className="chip"
            aria-current={each === shown ? "true" : undefined}
          >
            {momentsName(each)}
          </Link>
        ))}
      </nav>
      <p>
        <strong className={isOff(found.ece, found.floor) ? "bad" : ""}>
          {number(found.ece * 100)} points off
        </strong>{" "}
        on average over {count(found.rows, "moment")}; a perfect model would show{" "}
        {number(found.floor * 100)} by chance.{" "}
        <span className="note">
          {adopted === "none" ? "No calibration was needed." : `Calibrated by ${adopted}.`}
        </span>
      </p>
      <ReliabilityPlot reliability={found} />
    </Panel>
  );
}

function Silence({ silence }: { silence: ModelAnswer["silence"] }) {
  const rows = Object.entries(silence);
  if (rows.length === 0) return null;
  return (
    <Panel
      title="Along a silence"
      note="Users asked about right after an event, at the end of a session, and so long into a silence; and newcomers."
    >
      <div className="scroll" role="region" aria-label="Calibration along a silence" tabIndex={0}>
        <table className="plain">
          <thead>
            <tr>
              <th scope="col">Moment</th>
              <th scope="col" className="of-number">
                Predicted
              </th>
              <th scope="col" className="of-number">
                Churned
              </th>
              <th scope="col" className="of-number">
                Off, points
              </th>
              <th scope="col" className="of-number">
                By chance
              </th>
              <th scope="col" className="of-number">
                Moments
              </th>
            </tr>
          </thead>
          <tbody>
            {rows.map(([name, check]) => (
              <tr key={name}>
                <th scope="row">{name}</th>
                <td className="of-number">{percent(check.predicted)}</td>
                <td className="of-number">{percent(check.base_rate)}</td>
                <td className={`of-number${isOff(check.ece, check.floor) ? " bad" : ""}`}>
                  {number(check.ece * 100)}
                </td>
                <td className="of-number">{number(check.floor * 100)}</td>
                <td className="of-number">{number(check.rows)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Panel>
  );
}

function Periods({
  periods,
  rates,
}: {
  periods: ModelAnswer["periods"];
  rates: ModelAnswer["base_rates"];
}) {
  const months = Object.entries(rates);
  if (periods.length === 0 && months.length === 0) return null;
  return (
    <Panel
      title="Over time"
      note="Each period was predicted from what came before it. A season shows in the months, and in under two years of history nowhere else."
    >
      <table className="plain">
        <thead>
          <tr>
            <th scope="col">Period</th>
            <th scope="col" className="of-number">
              Predicted
            </th>
            <th scope="col" className="of-number">
              Churned
            </th>
            <th scope="col" className="of-number">
              Moments
            </th>
          </tr>
        </thead>
        <tbody>
          {periods.map((period) => (
            <tr key={period.start}>
              <th scope="row">
                {day(period.start)} to {day(period.end)}
              </th>
              <td className="of-number">{percent(period.predicted)}</td>
              <td className="of-number">{percent(period.base_rate)}</td>
              <td className="of-number">{number(period.rows)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {months.length > 0 && (
        <p>
          Churn among active users by month:{" "}
          {months.map(([month, rate]) => `${month} ${percent(rate)}`).join(", ")}.
        </p>
      )}
    </Panel>
  );
}

function candidate(name: string): string {
  const names: Record<string, string> = {
    lr: "logistic regression",
    hgb: "gradient boosting",
    rf: "random forest",
  };
  return names[name] ?? name;
}

function Quality({ title, figures, note }: { title: string; figures: Figures; note: string }) {
  const lift = figures.top_decile_lift;
  return (
    <Panel
      title={title}
      note={`${note} ${count(figures.rows, "moment")}; ${percent(figures.base_rate)} of them churned.`}
    >
      <dl className="measures">
        <Measure
          name="Lift"
          value={lift === null ? null : `${number(lift)}×`}
          words="Churn among the tenth with the highest risk, compared with everybody. Higher is better."
        />
        <Measure
          name="Calibration error"
          value={`${number(figures.ece * 100)} points`}
          words="How far a stated risk is from the share that really churned, on average. 0 is perfect."
        />
        <Measure
          name="AUC"
          value={figures.auc === null ? null : figures.auc.toFixed(3)}
          words="How often somebody who churned was scored above somebody who stayed. 0.5 is guessing."
        />
        <Measure
          name="Average precision"
          value={figures.average_precision === null ? null : figures.average_precision.toFixed(3)}
          words={`Share of right guesses, going down the list. Guessing gives ${figures.base_rate.toFixed(3)}.`}
        />
        <Measure
          name="Brier score"
          value={figures.brier.toFixed(3)}
          words={`Mean squared error of the risk. Always saying the average gives ${(figures.base_rate * (1 - figures.base_rate)).toFixed(3)}.`}
        />
        <Measure
          name="Log loss"
          value={figures.log_loss.toFixed(3)}
          words={`Price of being sure and wrong. Always saying the average costs ${entropy(figures.base_rate).toFixed(3)}.`}
        />
      </dl>
    </Panel>
  );
}

const entropy = (rate: number): number =>
  rate <= 0 || rate >= 1 ? 0 : -(rate * Math.log(rate) + (1 - rate) * Math.log(1 - rate));

function Measure({ name, value, words }: { name: string; value: string | null; words: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>
        <span className="value">{value ?? "not measurable"}</span>
        <span className="note">{words}</span>
      </dd>
    </div>
  );
}
