/** Whether the users of now look like those the model learned from. */
import { useQuery } from "@tanstack/react-query";
import { driftQuery, type DriftPage, type DriftRow } from "../api/machine.ts";
import { Moment } from "../parts/Moment.tsx";
import { Panel } from "../parts/Page.tsx";
import { Failure, Loading } from "../parts/States.tsx";
import { count, number } from "../words/numbers.ts";
import { SpreadPlot } from "./Plots.tsx";
import { driftSaid, moved } from "./quality.ts";

const SHOWN = 6;

export function Drift() {
  const { data, error, refetch } = useQuery(driftQuery);
  return (
    <Panel
      title="Drift"
      className="full"
      note={data === undefined ? undefined : <Sample page={data} />}
    >
      {data === undefined ? (
        error === null ? (
          <Loading lines={4} />
        ) : (
          <Failure error={error} again={() => void refetch()} />
        )
      ) : (
        <Found page={data} />
      )}
      {data !== undefined && error !== null && (
        <p className="banner lost">No new sample could be drawn: {error.message}.</p>
      )}
    </Panel>
  );
}

function Sample({ page }: { page: DriftPage }) {
  const left = page.drawn - page.compared;
  return (
    <>
      {count(page.drawn, "user")} of {number(page.population)}, drawn at random{" "}
      <Moment at={page.as_of} by="viewer" />.{" "}
      {left > 0 &&
        `${number(left)} were not seen within ${number(page.active_days)} days; the model learned from none such, so ${number(page.compared)} are compared. `}
      Set against active users at any instant of the training.
    </>
  );
}

function Found({ page }: { page: DriftPage }) {
  const { score, features } = page;
  if (score === null) {
    return (
      <p>
        {page.compared === 0
          ? "There is nobody to compare yet."
          : "This model does not say what it learned from: one trained by this release does."}
      </p>
    );
  }
  const drifted = features.filter((row) => row.verdict !== "stable" && row.index > row.by_chance);
  return (
    <>
      {!page.is_enough && (
        <p className="banner simulated">
          <strong>Too few users to tell.</strong> With {number(page.compared)}, chance alone comes
          near what is called a drift.
        </p>
      )}
      <div className="halves">
        <div>
          <h3>Scores</h3>
          <p>
            <Said row={score} />
          </p>
          <SpreadPlot
            training={score.training}
            live={score.live}
            label="Scores of users, in training and now"
          />
          <Key />
        </div>
        <div>
          <h3>What scores are made of</h3>
          <p>
            {drifted.length === 0
              ? `None of ${features.length} features has drifted.`
              : `${drifted.length} of ${features.length} features differ. The most:`}
          </p>
          <ul className="drifts">
            {features.slice(0, SHOWN).map((row) => (
              <li key={row.name}>
                <strong>{row.name.replaceAll("_", " ")}</strong> <Said row={row} />
                <Where row={row} />
              </li>
            ))}
          </ul>
        </div>
      </div>
      <p className="note">
        The number is the population stability index: 0 when both are spread alike. {page.rule} What
        chance alone does is stated beside it: two samples of the same population stay below that 19
        times of 20. A drift says that users are others, not that scores are wrong.
      </p>
    </>
  );
}

export function Said({ row }: { row: DriftRow }) {
  const { words, tone } = driftSaid(row);
  return (
    <span className={`drift ${tone}`}>
      {words}{" "}
      <span className="note">
        {row.index.toFixed(3)}, chance to {row.by_chance.toFixed(3)}
      </span>
    </span>
  );
}

function Where({ row }: { row: DriftRow }) {
  const { more, fewer } = moved(row);
  if (row.index <= row.by_chance || (more === null && fewer === null)) return null;
  return (
    <span className="note">
      {" "}
      {more !== null && `More: ${more}. `}
      {fewer !== null && `Fewer: ${fewer}.`}
    </span>
  );
}

export function Key() {
  return (
    <p className="note key">
      <span className="swatch of-training" aria-hidden="true" /> in training{" "}
      <span className="swatch of-live" aria-hidden="true" /> now. Bars grow with the square root, so
      that rare values show.
    </p>
  );
}
