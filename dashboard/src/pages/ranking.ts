/** What the table of users asks for, and what it says of the answers. */
import type { RankedUser, RankedUsers } from "../api/client.ts";
import type { operations } from "../api/schema.ts";
import { ATTRIBUTES, type AtRiskSearch } from "../search.ts";
import { number, percent } from "../words/numbers.ts";

export const PER_PAGE = 25;
export const MOST_REQUESTS = 5;
/** Further ones wait for a click: each is a walk along ten thousand users. */

type Asked = NonNullable<operations["list_users_users_get"]["parameters"]["query"]>;

/** The query of `GET /users` for what the address says. */
export function asked(search: AtRiskSearch): Asked {
  const query: Asked = {};
  if (search.order !== undefined) query.order = search.order;
  if (search.q !== undefined) query.search = search.q;
  if (search.min_risk !== undefined) query.min_risk = search.min_risk;
  if (search.max_risk !== undefined) query.max_risk = search.max_risk;
  if (search.seen !== undefined) query.silent_days_max = search.seen;
  if (search.rule !== undefined) query.rule = search.rule;
  if (search.cancelled !== undefined) query.cancelled = search.cancelled;
  if (search.lapsed !== undefined) query.lapsed = search.lapsed;
  if (search.evidence !== undefined) query.evidence = search.evidence;
  for (const name of ATTRIBUTES) {
    const value = search[name];
    if (value !== undefined) query[name] = [value];
  }
  return query;
}

/** Where the same list is to be had as a table for spreadsheets. */
export function exportAddress(search: AtRiskSearch): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(asked(search))) {
    for (const each of Array.isArray(value) ? value : [value]) query.append(name, String(each));
  }
  const text = query.toString();
  return text === "" ? "/users.csv" : `/users.csv?${text}`;
}

/** A page of the table, which may be made of several answers. */
export interface Gathered {
  users: readonly RankedUser[];
  /** The user of the very id searched for. */
  exact: RankedUser | null;
  next: string | null;
  /** Users looked at for this page. */
  walked: number;
  last: RankedUsers;
}

/**
 * Asks on until the page is full, nobody is left or MOST_REQUESTS are made: an answer that found
 * few has looked as far as one request may.
 */
export async function gather(
  ask: (cursor: string | undefined, limit: number) => Promise<RankedUsers>,
  after: string | undefined,
): Promise<Gathered> {
  let answer = await ask(after, PER_PAGE);
  const { exact } = answer;
  const users = [...answer.users];
  let { walked } = answer.looked;
  for (
    let requests = 1;
    users.length < PER_PAGE && answer.next !== null && requests < MOST_REQUESTS;
    requests += 1
  ) {
    answer = await ask(answer.next, PER_PAGE - users.length);
    users.push(...answer.users);
    walked += answer.looked.walked;
  }
  return { users, exact, next: answer.next, walked, last: answer };
}

/** Whom the table shows: the very user searched for first, and nobody twice. */
export function shown({ users, exact }: Pick<Gathered, "users" | "exact">): RankedUser[] {
  return exact === null
    ? [...users]
    : [exact, ...users.filter(({ user_id }) => user_id !== exact.user_id)];
}

/** How far the table has looked, where that is less than everybody. */
export function reach(page: Gathered, search: AtRiskSearch): string | null {
  if (page.next === null || page.users.length >= PER_PAGE) return null;
  const { down_to } = page.last.looked;
  const most = page.last.ranked;
  const depth =
    down_to === null
      ? ""
      : search.order === "value"
        ? `, down to ${number(down_to)} a month at risk`
        : `, down to a risk of ${percent(down_to)}`;
  return `Looked through ${number(page.walked)} of ${number(most)} users${depth}.`;
}

/** Who is not in the list by default, in words. */
export function leftOut(left: RankedUsers["left_out"]): string | null {
  const { cancelled, little_evidence, lapsed } = left;
  const who = [
    cancelled > 0 ? `${number(cancelled)} who have cancelled` : null,
    little_evidence > 0 ? `${number(little_evidence)} with little evidence` : null,
    lapsed > 0 ? `${number(lapsed)} who have lapsed` : null,
  ].filter((part) => part !== null);
  if (who.length === 0) return null;
  const last = who.at(-1) ?? "";
  return `Left out: ${who.length === 1 ? last : `${who.slice(0, -1).join(", ")} and ${last}`}.`;
}

/** +32 points: what silence has added to the risk. */
export function rise(change: number): string {
  const points = Math.round(change * 100);
  return points === 0 ? "—" : `+${points} ${points === 1 ? "point" : "points"}`;
}

/** How many filters narrow the list, the search and the order aside. */
export function narrowing(search: AtRiskSearch): number {
  const names = [
    "min_risk",
    "seen",
    "rule",
    "cancelled",
    "lapsed",
    "evidence",
    ...ATTRIBUTES,
  ] as const;
  const set = names.filter((name) => search[name] !== undefined).length;
  return set + (search.max_risk !== undefined && search.min_risk === undefined ? 1 : 0);
}

/** The names that rows tell of an attribute, for whoever has to spell one. */
export function named(users: readonly RankedUser[], attribute: (typeof ATTRIBUTES)[number]) {
  const names = new Set(users.map(({ attributes }) => attributes[attribute]));
  names.delete(null);
  return [...names].filter((name) => name !== null).toSorted();
}
