/** A difference with its interval, beside zero. What it says stands beside it in words. */
import { scaleLinear } from "@visx/scale";

export function IntervalBar({
  interval,
  value,
  reach,
  tone,
}: {
  interval: { low: number; high: number } | null;
  value: number | null;
  /** Both ends of the scale, about zero. */
  reach: number;
  tone: string;
}) {
  const place = scaleLinear({ domain: [-reach, reach], range: [0, 100], clamp: true });
  const at = (share: number) => `${place(share)}%`;
  return (
    <svg className={`interval ${tone}`} aria-hidden="true" focusable="false">
      <line className="axis" x1="0%" x2="100%" y1="50%" y2="50%" />
      <line className="zero" x1="50%" x2="50%" y1="0" y2="100%" />
      {interval !== null && (
        <line className="range" x1={at(interval.low)} x2={at(interval.high)} y1="50%" y2="50%" />
      )}
      {value !== null && <circle cx={at(value)} cy="50%" r="5" />}
    </svg>
  );
}
