/** Moments on the page: relative or exact, as the viewer chose, counted from the data's now. */
import { createContext, useContext, useMemo, useState, type ReactNode } from "react";
import { useQuery } from "@tanstack/react-query";
import { clockQuery } from "../api/queries.ts";
import { keep, kept } from "./storage.ts";
import { exact, relative, short } from "../words/times.ts";

export type TimesShown = "relative" | "exact";

const Shown = createContext<{ shown: TimesShown; show: (shown: TimesShown) => void }>({
  shown: "relative",
  show: () => undefined,
});

export function TimesProvider({ children }: { children: ReactNode }) {
  const [shown, setShown] = useState<TimesShown>(() =>
    kept("times") === "exact" ? "exact" : "relative",
  );
  const value = useMemo(
    () => ({
      shown,
      show: (chosen: TimesShown) => {
        keep("times", chosen === "exact" ? chosen : null);
        setShown(chosen);
      },
    }),
    [shown],
  );
  return <Shown value={value}>{children}</Shown>;
}

export const useTimesShown = () => useContext(Shown);

const DataNow = createContext<number | null>(null);

/** Asks for the gateway's now, once for all moments below. */
export function DataNowProvider({ children }: { children: ReactNode }) {
  const { data } = useQuery(clockQuery);
  return <DataNow value={data?.asOf ?? null}>{children}</DataNow>;
}

/** The gateway's now, null until it is known. */
export const useDataNow = () => useContext(DataNow);

/**
 * One moment; `by` the viewer's clock rather than the data's for what this machine noted. `asOf`: the
 * now of the answer it came with, where the data's clock runs faster than it is asked for.
 */
export function Moment({
  at,
  by = "data",
  asOf,
}: {
  at: string | number;
  by?: "data" | "viewer";
  asOf?: number;
}) {
  const dataNow = useDataNow();
  const { shown } = useTimesShown();
  const moment = typeof at === "number" ? at : Date.parse(at);
  const now = by === "viewer" ? Date.now() : (asOf ?? dataNow);
  return (
    <time dateTime={new Date(moment).toISOString()} title={exact(moment)} className="moment">
      {shown === "exact" || now === null ? short(moment) : relative(moment, now)}
    </time>
  );
}
