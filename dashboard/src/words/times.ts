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

// Made once: a formatter takes longer to make than a page of moments to write.
const SECONDS = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
const MINUTES = new Intl.DateTimeFormat(undefined, {
  day: "numeric",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
});
const WEEKDAYS = new Intl.DateTimeFormat(undefined, {
  weekday: "long",
  day: "numeric",
  month: "long",
});
const DATES = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });

/** To the second, in the viewer's zone, with the zone's name. */
export const exact = (moment: number): string => SECONDS.format(moment);

/** To the minute, in the viewer's zone. */
export const short = (moment: number): string => MINUTES.format(moment);

export const day = (moment: number): string => WEEKDAYS.format(moment);

export const date = (moment: number): string => DATES.format(moment);

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
