/** The model behind every score: what it learned from, how good it is, what it reads. */
import { useQuery } from "@tanstack/react-query";
import type { Model as ModelAnswer } from "../api/client.ts";
import { modelQuery } from "../api/queries.ts";
import { Figure, Page, Panel } from "../parts/Page.tsx";
import { Failure, Loading } from "../parts/States.tsx";
import { count, number, percent } from "../words/numbers.ts";
import { SIMULATOR } from "../words/risk.ts";
import { date } from "../words/times.ts";

type Figures = NonNullable<ModelAnswer["metrics"]>;

const KINDS: Readonly<Record<string, string>> = {
  frozen: "stays",
  fading: "fades",
  recency: "grows",
};

export function Model() {
  const { data: model, error, refetch } = useQuery(modelQuery);
  if (model === undefined) {
    return (
      <Page title="Model">
        {error === null ? <Loading /> : <Failure error={error} again={() => void refetch()} />}
      </Page>
    );
  }
  return (
    <Page
      title="Model"
      heading={
        <>
          Model <span className="id">{model.version}</span>
        </>
      }
      lead={`Answers one question: how likely does a user do nothing for ${model.horizon_days} days?`}
    >
      <dl className="figures">
        <Figure
          name="Learned from"
          value={model.origin === SIMULATOR ? "simulated users" : model.origin}
          note={`${date(Date.parse(model.trained.start))} to ${date(Date.parse(model.trained.end))}`}
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
          name="Counts as churning from"
          value={percent(model.class_cutoff)}
          note={`no score beyond ${number(model.silence_grid_days)} days of silence`}
        />
      </dl>
      <div className="halves">
        {model.metrics !== null && (
          <Quality
            title="How good the scores are"
            figures={model.metrics}
            note={`On moments after ${date(Date.parse(model.validated_from))}, which it did not learn from.`}
          />
        )}
        <Quality
          title="How good /predict is"
          figures={model.predict_metrics}
          note="The smaller model behind /predict reads four totals, no behaviour over time."
        />
        <Panel
          title="The ladder"
          className="full"
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
        <Features title="What it reads" features={model.features} />
        <Features title="What /predict reads" features={model.predict_inputs} />
      </div>
    </Page>
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

function Features({ title, features }: { title: string; features: ModelAnswer["features"] }) {
  return (
    <Panel title={title} className="full">
      <details>
        <summary>{count(features.length, "number")}</summary>
        <table className="plain">
          <thead>
            <tr>
              <th scope="col">Name</th>
              <th scope="col">What it is</th>
              <th scope="col">Unit</th>
              <th scope="col">More of it</th>
              <th scope="col">In silence it</th>
            </tr>
          </thead>
          <tbody>
            {features.map((feature) => (
              <tr key={feature.name}>
                <th scope="row">{feature.name.replaceAll("_", " ")}</th>
                <td>
                  {feature.definition} <span className="note">{feature.why}</span>
                </td>
                <td>{feature.unit}</td>
                <td>{direction(feature.direction)}</td>
                <td>{KINDS[feature.kind] ?? feature.kind}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </details>
    </Panel>
  );
}

function direction(sign: number): string {
  return sign > 0 ? "raises the risk" : sign < 0 ? "lowers the risk" : "may do either";
}
