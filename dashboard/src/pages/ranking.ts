/** Which users the table shows, and in what order. */
import type { RankedUser } from "../api/client.ts";
import type { Sort } from "../search.ts";

export const PER_PAGE = 25;

export function shown(users: readonly RankedUser[], wanted: string): readonly RankedUser[] {
  if (wanted === "") return users;
  const part = wanted.toLowerCase();
  return users.filter(({ user_id }) => user_id.toLowerCase().includes(part));
}

/** As the gateway has them for "risk"; otherwise the latest moment first, none last. */
export function sorted(users: readonly RankedUser[], sort: Sort): readonly RankedUser[] {
  if (sort === "risk") return users;
  const moment = ({ last_seen_at, at_risk_at }: RankedUser) => {
    const at = sort === "seen" ? last_seen_at : at_risk_at;
    return at === null ? -Infinity : Date.parse(at);
  };
  return users.toSorted((a, b) => moment(b) - moment(a) || 0);
}
