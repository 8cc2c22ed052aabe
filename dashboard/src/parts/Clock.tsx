/** The data's now, said where it is not the viewer's. */
import { useQuery } from "@tanstack/react-query";
import { clockQuery } from "../api/queries.ts";
import { exact, MINUTE, short } from "../words/times.ts";

export function Clock() {
  const { data } = useQuery(clockQuery);
  if (data === undefined || Math.abs(data.asOf - data.askedAt) < 2 * MINUTE) return null;
  return (
    <p className="clock">
      <span>The data's clock</span>
      <time dateTime={new Date(data.asOf).toISOString()} title={exact(data.asOf)}>
        {short(data.asOf)}
      </time>
    </p>
  );
}
