/** A risk: its number, and a bar that is as long as it is probable. */
import { percent } from "../words/numbers.ts";
import type { Tone } from "../words/risk.ts";
import { useSimulated } from "./Provenance.tsx";

export function Risk({ probability, tone }: { probability: number; tone: Tone }) {
  const simulated = useSimulated();
  return (
    <span className={`risk ${tone}${simulated ? " of-simulator" : ""}`}>
      <span className="number">{percent(probability)}</span>
      <svg className="bar" aria-hidden="true" focusable="false">
        <rect className="track" width="100%" height="100%" rx="3" />
        <rect className="fill" width={`${Math.max(probability * 100, 2)}%`} height="100%" rx="3" />
      </svg>
    </span>
  );
}
