/** Plots of predictions against what happened. Each has its numbers in a table below. */
import { scaleLinear, scaleSqrt } from "@visx/scale";
import { LinePath } from "@visx/shape";
import type { Quality, Reliability, Spread } from "../api/machine.ts";
import { number, percent } from "../words/numbers.ts";
import { binNames, shares } from "./quality.ts";

const PARTS = [0, 0.25, 0.5, 0.75, 1];
const across = scaleLinear({ domain: [0, 1], range: [0, 100] });
const up = scaleLinear({ domain: [0, 1], range: [100, 0] });

function Grid({ bottom, side }: { bottom: string; side: string }) {
  return (
    <>
      {PARTS.map((part) => (
        <g key={part}>
          <line className="tick" x1="0" x2="100%" y1={`${up(part)}%`} y2={`${up(part)}%`} />
          <text x="-6" y={`${up(part)}%`} dy="0.32em" textAnchor="end">
            {`${part * 100}%`}
          </text>
          <text x={`${across(part)}%`} y="100%" dy="16" textAnchor="middle">
            {`${part * 100}%`}
          </text>
        </g>
      ))}
      <text x="50%" y="100%" dy="34" textAnchor="middle">
        {bottom}
      </text>
      <text className="side-title" x="6" y="0" dy="14">
        {side}
      </text>
    </>
  );
}

export function ReliabilityPlot({ reliability }: { reliability: Reliability }) {
  const { bins } = reliability;
  return (
    <figure className="plotted square">
      <svg
        className="plot"
        role="img"
        aria-label="What was predicted against the share that churned; the table below has the numbers"
      >
        <Grid bottom="predicted" side="churned" />
        <line className="even" x1="0" y1="100%" x2="100%" y2="0" />
        {bins.map((bin, i) => (
          <g key={i} className="point">
            <title>
              {`${percent(bin.predicted)} predicted, ${percent(bin.churned)} of ${number(bin.rows)} churned (95%: ${percent(bin.low)} to ${percent(bin.high)})`}
            </title>
            <line
              x1={`${across(bin.predicted)}%`}
              x2={`${across(bin.predicted)}%`}
              y1={`${up(bin.low)}%`}
              y2={`${up(bin.high)}%`}
            />
            <circle cx={`${across(bin.predicted)}%`} cy={`${up(bin.churned)}%`} r="4.5" />
          </g>
        ))}
      </svg>
      <figcaption>
        <details>
          <summary>As a table</summary>
          <table className="plain">
            <thead>
              <tr>
                <th scope="col" className="of-number">
                  Predicted
                </th>
                <th scope="col" className="of-number">
                  Churned
                </th>
                <th scope="col" className="of-number">
                  95% interval
                </th>
                <th scope="col" className="of-number">
                  Moments
                </th>
              </tr>
            </thead>
            <tbody>
              {bins.map((bin, i) => (
                <tr key={i}>
                  <td className="of-number">{percent(bin.predicted)}</td>
                  <td className="of-number">{percent(bin.churned)}</td>
                  <td className="of-number">
                    {percent(bin.low)} to {percent(bin.high)}
                  </td>
                  <td className="of-number">{number(bin.rows)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </details>
      </figcaption>
    </figure>
  );
}

export function LiftPlot({ lift }: { lift: Quality["lift"] }) {
  const points = [{ contacted: 0, reached: 0, lift: 0 }, ...lift];
  return (
    <figure className="plotted square">
      <svg
        className="plot"
        role="img"
        aria-label="Churners reached by how many users are contacted, riskiest first; the table below has the numbers"
      >
        <Grid bottom="users contacted, riskiest first" side="churners reached" />
        <line className="even" x1="0" y1="100%" x2="100%" y2="0" />
        <svg viewBox="0 0 100 100" preserveAspectRatio="none" width="100%" height="100%">
          <LinePath
            className="line"
            data={points}
            x={({ contacted }) => across(contacted)}
            y={({ reached }) => up(reached)}
          />
        </svg>
        {lift.map((point) => (
          <circle
            key={point.contacted}
            className="stop"
            cx={`${across(point.contacted)}%`}
            cy={`${up(point.reached)}%`}
            r="3.5"
          >
            <title>
              {`The riskiest ${percent(point.contacted)} hold ${percent(point.reached)} of those who churned`}
            </title>
          </circle>
        ))}
      </svg>
      <figcaption>
        <details>
          <summary>As a table</summary>
          <table className="plain">
            <thead>
              <tr>
                <th scope="col" className="of-number">
                  Contacted
                </th>
                <th scope="col" className="of-number">
                  Churners reached
                </th>
                <th scope="col" className="of-number">
                  Lift
                </th>
              </tr>
            </thead>
            <tbody>
              {lift.map((point) => (
                <tr key={point.contacted}>
                  <td className="of-number">{percent(point.contacted)}</td>
                  <td className="of-number">
                    {point.reached === 1 ? "all" : percent(point.reached)}
                  </td>
                  <td className="of-number">{number(point.lift)}×</td>
                </tr>
              ))}
            </tbody>
          </table>
        </details>
      </figcaption>
    </figure>
  );
}

/** Two spreads side by side: training behind, live in front. */
export function SpreadPlot({
  training,
  live,
  label,
}: {
  training: Spread;
  live: Spread;
  label: string;
}) {
  const [before, now] = [shares(training), shares(live)];
  const unknown = before.missing > 0 || now.missing > 0;
  const names = [...binNames(training.cuts), ...(unknown ? ["unknown"] : [])];
  const pairs = names.map((name, i) => ({
    name,
    before: before.bins[i] ?? before.missing,
    now: now.bins[i] ?? now.missing,
  }));
  const highest = Math.max(...pairs.flatMap((pair) => [pair.before, pair.now]), 0.01);
  const y = scaleSqrt({ domain: [0, highest], range: [0, 100] });
  const width = 100 / pairs.length;
  return (
    <figure className="spread">
      <svg className="plot" role="img" aria-label={`${label}; the table has the numbers`}>
        {pairs.map(({ name, before: old, now: fresh }, i) => (
          <g key={i}>
            <title>{`${name}: ${percent(old)} in training, ${percent(fresh)} now`}</title>
            <rect
              className="of-training"
              x={`${i * width + width * 0.12}%`}
              width={`${width * 0.36}%`}
              y={`${100 - y(old)}%`}
              height={`${y(old)}%`}
            />
            <rect
              className="of-live"
              x={`${i * width + width * 0.52}%`}
              width={`${width * 0.36}%`}
              y={`${100 - y(fresh)}%`}
              height={`${y(fresh)}%`}
            />
          </g>
        ))}
      </svg>
      <figcaption>
        <details>
          <summary>As a table</summary>
          <table className="plain">
            <thead>
              <tr>
                <th scope="col">Value</th>
                <th scope="col" className="of-number">
                  In training
                </th>
                <th scope="col" className="of-number">
                  Now
                </th>
              </tr>
            </thead>
            <tbody>
              {pairs.map((pair, i) => (
                <tr key={i}>
                  <th scope="row">{pair.name}</th>
                  <td className="of-number">{percent(pair.before)}</td>
                  <td className="of-number">{percent(pair.now)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </details>
      </figcaption>
    </figure>
  );
}
