/** Moments as people read them: how long ago, and exactly, in the viewer's zone. */

const SECOND = 1000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

const STEPS: readonly (readonly [number, Intl.RelativeTimeFormatUnit, number])[] = [
  [365.25 * DAY, "year", 2 * 365.25 * DAY],
  [30.44 * DAY, "month", 60 * DAY],
  [DAY, "day", 1.5 * DAY],
  [HOUR, "hour", 1.5 * HOUR],
  [MINUTE, "minute", 1.5 * MINUTE],
];

const words = new Intl.RelativeTimeFormat("en", { numeric: "always" });

/** "3 hours ago", "in 2 days"; within a minute and a half it is "just now". */
export function relative(moment: number, now: number): string {
  const ahead = moment - now;
  for (const [size, unit, from] of STEPS) {
    if (Math.abs(ahead) >= from) return words.format(Math.round(ahead / size), unit);
  }
  return "just now";
}

/** To the second, in the viewer's zone, with the zone's name. */
export function exact(moment: number): string {
  return new Date(moment).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "long" });
}

/** To the minute, in the viewer's zone. */
export function short(moment: number): string {
  return new Date(moment).toLocaleString(undefined, {
    day: "numeric",
    month: "short",
    hour: "2-digit",
    minute: "2-digit",
  });
}

export function day(moment: number): string {
  return new Date(moment).toLocaleDateString(undefined, {
    weekday: "long",
    day: "numeric",
    month: "long",
  });
}

export function date(moment: number): string {
  return new Date(moment).toLocaleDateString(undefined, { dateStyle: "medium" });
}

/** A length of time in days, hours or minutes. */
export function span(ms: number): string {
  const told = (size: number, name: string) => {
    const amount = Math.round(ms / size);
    return `${amount} ${name}${amount === 1 ? "" : "s"}`;
  };
  return ms >= 2 * DAY
    ? told(DAY, "day")
    : ms >= 1.5 * HOUR
      ? told(HOUR, "hour")
      : told(MINUTE, "minute");
}
