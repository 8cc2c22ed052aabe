/** The model behind every score: what it learned from, how good it is, whether that still holds. */
import { useQuery } from "@tanstack/react-query";
import { useSearch } from "@tanstack/react-router";
import { memo, useDeferredValue } from "react";
import type { Model as ModelAnswer } from "../api/client.ts";
import { driftQuery, qualityQuery, type Quality as Kept } from "../api/machine.ts";
import { modelQuery } from "../api/queries.ts";
import { AlertThreshold } from "../model/AlertThreshold.tsx";
import { Drift } from "../model/Drift.tsx";
import { Concepts, Features } from "../model/Features.tsx";
import { Options } from "../model/Options.tsx";
import { LiftPlot, ReliabilityPlot } from "../model/Plots.tsx";
import { isOff, momentsName } from "../model/quality.ts";
import { Moment } from "../parts/Moment.tsx";
import { Figure, Page, Panel } from "../parts/Page.tsx";
import { Failure, Loading } from "../parts/States.tsx";
import { Scroll, Table, type Column } from "../parts/Table.tsx";
import { Tabs } from "../parts/Tabs.tsx";
import { MODEL_PARTS, type ModelPart, type ModelSearch } from "../search.ts";
import { count, number, percent } from "../words/numbers.ts";
import { date } from "../words/times.ts";

type Figures = NonNullable<ModelAnswer["metrics"]>;

const PART_WORDS: Readonly<Record<ModelPart, string>> = {
  quality: "Quality",
  stability: "Stability",
  inputs: "Inputs",
  origin: "Origin",
};

export function Model() {
  const { data: model, error, refetch } = useQuery(modelQuery);
  const { part = "quality", ...chosen } = useSearch({ from: "/model" });
  // The tab is marked in the frame of the click, its part may come in the next.
  const shown = useDeferredValue(part);
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
      <Tabs
        to="/model"
        tabs={MODEL_PARTS.map((each) => ({
          search: each === "quality" ? {} : { part: each },
          name: PART_WORDS[each],
          isCurrent: each === part,
        }))}
      />
      <Part model={model} part={shown} {...chosen} />
    </Page>
  );
}

const Part = memo(function Part({
  model,
  part,
  moments = "all",
  order,
  all,
}: { model: ModelAnswer; part: ModelPart } & Omit<ModelSearch, "part">) {
  const { data: told } = useQuery(qualityQuery);
  const { data: drift } = useQuery(driftQuery);
  const quality = told?.quality ?? null;
  return (
    <>
      <div className="halves">
        {part === "quality" && <HowGood model={model} quality={quality} moments={moments} />}
        {part === "stability" && <Stability model={model} />}
        {part === "inputs" && (
          <>
            {quality !== null && <Concepts concepts={quality.concepts} />}
            <Features
              features={model.features}
              effects={quality?.features ?? NONE}
              drift={drift?.features ?? NONE}
              order={order ?? "effect"}
              all={all === true}
            />
          </>
        )}
        {part === "origin" && <Origin model={model} />}
      </div>
      {told !== undefined && quality === null && (
        <p className="note">
          This model came without what it learned from, so calibration, effects and drift cannot be
          shown: train it again, or copy all of its files.
        </p>
      )}
    </>
  );
});

/** One that stays the same, so that what is shown of it does, too. */
const NONE: readonly never[] = [];

function HowGood({
  model,
  quality,
  moments,
}: {
  model: ModelAnswer;
  quality: Kept | null;
  moments: string;
}) {
  return (
    <>
      {model.notes.length > 0 && (
        <Panel title="Before you act on it" className="full">
          <ul className="notes">
            {model.notes.map((note) => (
              <li key={note}>{note}</li>
            ))}
          </ul>
        </Panel>
      )}
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
      <AlertThreshold model={model} />
      {model.metrics !== null && (
        <Quality
          title="How good the scores are"
          figures={model.metrics}
          note={`On moments after ${day(model.validated_from)}, which it did not learn from.`}
        />
      )}
    </>
  );
}

/** Whether that stays so: for the users of now, along a silence, and from month to month. */
function Stability({ model }: { model: ModelAnswer }) {
  const { data: drift } = useQuery(driftQuery);
  return (
    <>
      <dl className="figures full">
        <Figure
          name="Newest event"
          value={drift?.newest_event == null ? "not known" : <Moment at={drift.newest_event} />}
          note="log time of the newest that was folded"
        />
        <Figure
          name="Last score"
          value={
            drift?.newest_score == null ? (
              "not known"
            ) : (
              <Moment at={drift.newest_score} by="viewer" />
            )
          }
          note="by the word of the scorers"
        />
      </dl>
      <Drift />
      <Silence silence={model.silence} />
      <Periods periods={model.periods} rates={model.base_rates} />
    </>
  );
}

function Origin({ model }: { model: ModelAnswer }) {
  return (
    <>
      <dl className="figures full">
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
      </dl>
      <Ladder levels={model.levels} />
      <Quality
        title="How good /predict is"
        figures={model.predict_metrics}
        note={`The smaller model behind /predict reads four totals, no behaviour over time${model.predict_origin === model.origin ? "" : `; it learned from ${model.predict_origin}`}.`}
      />
    </>
  );
}

function Ladder({ levels }: { levels: readonly number[] }) {
  return (
    <Panel
      title="The ladder"
      note="Silence is scored each time the risk reaches one of these rungs; alert thresholds snap to the nearest."
    >
      <ol className="ladder">
        {levels.map((level) => (
          <li key={level}>
            <svg aria-hidden="true" focusable="false">
              <rect y={`${100 - level * 100}%`} width="100%" height={`${level * 100}%`} rx="2" />
            </svg>
            <span>{percent(level)}</span>
          </li>
        ))}
      </ol>
    </Panel>
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
      <Options
        label="Which moments"
        field="moments"
        options={Object.keys(quality.reliability)}
        name={momentsName}
        chosen={shown}
      />
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

type Check = ModelAnswer["silence"][string];
type Period = ModelAnswer["periods"][number];

const CHECKS: readonly Column<readonly [string, Check]>[] = [
  { name: "Moment", as: "row", of: ([name]) => name },
  { name: "Predicted", as: "number", of: ([, check]) => percent(check.predicted) },
  { name: "Churned", as: "number", of: ([, check]) => percent(check.base_rate) },
  {
    name: "Off, points",
    as: "number",
    of: ([, check]) => number(check.ece * 100),
    isBad: ([, check]) => isOff(check.ece, check.floor),
  },
  { name: "By chance", as: "number", of: ([, check]) => number(check.floor * 100) },
  { name: "Moments", as: "number", of: ([, check]) => number(check.rows) },
];

const PERIODS: readonly Column<Period>[] = [
  { name: "Period", as: "row", of: ({ start, end }) => `${day(start)} to ${day(end)}` },
  { name: "Predicted", as: "number", of: ({ predicted }) => percent(predicted) },
  { name: "Churned", as: "number", of: ({ base_rate }) => percent(base_rate) },
  { name: "Moments", as: "number", of: ({ rows }) => number(rows) },
];

function Silence({ silence }: { silence: ModelAnswer["silence"] }) {
  const rows = Object.entries(silence);
  if (rows.length === 0) return null;
  return (
    <Panel
      title="Along a silence"
      note="Users asked about right after an event, at the end of a session, and so long into a silence; and newcomers."
    >
      <Scroll label="Calibration along a silence">
        <Table columns={CHECKS} rows={rows} />
      </Scroll>
    </Panel>
  );
}

function Periods({
  periods,
  rates,
}: {
  periods: readonly Period[];
  rates: ModelAnswer["base_rates"];
}) {
  const months = Object.entries(rates);
  if (periods.length === 0 && months.length === 0) return null;
  return (
    <Panel
      title="Over time"
      note="Each period was predicted from what came before it. A season shows in the months, and in under two years of history nowhere else."
    >
      <Table columns={PERIODS} rows={periods} />
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
