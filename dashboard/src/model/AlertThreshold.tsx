/** The risk at which alerts open, and what any other would have been worth. */
import { memo } from "react";
import type { Model as ModelAnswer } from "../api/client.ts";
import { Fold } from "../parts/Fold.tsx";
import { Panel } from "../parts/Page.tsx";
import { Scroll, Table, type Column } from "../parts/Table.tsx";
import { number, percent } from "../words/numbers.ts";
import { threshold, type Rung } from "./threshold.ts";

const share = (value: number | null): string => (value === null ? "–" : percent(value));

const COLUMNS: readonly Column<Rung>[] = [
  { name: "Opens at", as: "row", of: ({ level }) => percent(level) },
  { name: "Told in time", as: "number", of: ({ in_time }) => share(in_time) },
  { name: "Right", as: "number", of: ({ precision }) => share(precision) },
  {
    name: "Days left",
    as: "number",
    of: ({ lead_days }) => (lead_days === null ? "–" : number(lead_days)),
  },
  {
    name: "A day, of 1,000 users",
    as: "number",
    of: ({ per_1000_a_day }) => number(per_1000_a_day),
  },
];

export const AlertThreshold = memo(function AlertThreshold({ model }: { model: ModelAnswer }) {
  const { says, why, rungs } = threshold(model);
  return (
    <Panel title="When alerts open" note={why}>
      <p className="saying">{says}</p>
      {rungs.length > 0 && (
        <Fold summary="What other thresholds would have told">
          <Scroll label="Thresholds and what they tell">
            <Table
              columns={COLUMNS}
              rows={rungs}
              rowClass={({ level }) => (level === model.alert_threshold ? "chosen" : "")}
            />
          </Scroll>
        </Fold>
      )}
    </Panel>
  );
});
