/** Events gathered into visits, as the product counts them. */
import type { TimelineEvent } from "../api/client.ts";
import { MINUTE } from "../words/times.ts";

/** Half an hour without activity ends a visit. */
export const VISIT_GAP = 30 * MINUTE;

export interface Visit {
  readonly kind: "visit";
  readonly from: number;
  readonly to: number;
  /** In the order in which they occurred. */
  readonly events: readonly TimelineEvent[];
  readonly pages: number;
  readonly minutes: number;
  /** Money spent, less what came back; null where none was stated. */
  readonly value: number | null;
}

/** What is no activity of theirs: a mail, an invoice, totals stated by another system. */
export interface Note {
  readonly kind: "note";
  readonly from: number;
  readonly event: TimelineEvent;
}

export type Happening = Visit | Note;

/** The latest first; `events` come the latest first, too. */
export function happenings(events: readonly TimelineEvent[]): Happening[] {
  const found: Happening[] = [];
  let open: TimelineEvent[] = [];
  const close = () => {
    if (open.length > 0) found.push(visit(open));
    open = [];
  };
  for (const event of events.toReversed()) {
    if (!event.is_activity) {
      found.push({ kind: "note", from: Date.parse(event.occurred_at), event });
      continue;
    }
    const last = open.at(-1);
    if (
      last !== undefined &&
      Date.parse(event.occurred_at) - Date.parse(last.occurred_at) > VISIT_GAP
    ) {
      close();
    }
    open.push(event);
  }
  close();
  return found.sort((a, b) => b.from - a.from);
}

function visit(events: readonly TimelineEvent[]): Visit {
  const sum = (of: (event: TimelineEvent) => number) =>
    events.reduce((total, event) => total + of(event), 0);
  const times = events.map(({ occurred_at }) => Date.parse(occurred_at));
  return {
    kind: "visit",
    from: Math.min(...times),
    to: Math.max(...times),
    events,
    pages: sum(({ pages }) => pages),
    minutes: sum(({ minutes }) => minutes),
    value: events.every(({ value }) => value === null) ? null : sum(({ value }) => value ?? 0),
  };
}

/** `page_view` as page view. */
export const typeName = (type: string): string => type.replaceAll(/[_.]/g, " ");

export interface Counted {
  readonly type: string;
  readonly times: number;
}

/** The types of a visit in the order of their first, each with how often. */
export function typesOf(events: readonly TimelineEvent[]): Counted[] {
  const counts = new Map<string, number>();
  for (const { type } of events) counts.set(type, (counts.get(type) ?? 0) + 1);
  return [...counts].map(([type, times]) => ({ type, times }));
}
