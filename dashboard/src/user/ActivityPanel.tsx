/** The last 28 days. */
import { memo } from "react";
import { Toggle } from "@base-ui/react/toggle";
import { ToggleGroup } from "@base-ui/react/toggle-group";
import { useNavigate } from "@tanstack/react-router";
import type { UserPage } from "../api/client.ts";
import { DayBars, DaysTable } from "../charts/DayBars.tsx";
import { MEASURES, measured, type Measure } from "../charts/days.ts";
import { Panel } from "../parts/Page.tsx";
import { count } from "../words/numbers.ts";

const MEASURE_WORDS: Readonly<Record<Measure, string>> = {
  pages: "Pages",
  minutes: "Minutes",
  visits: "Visits",
};

export const ActivityPanel = memo(function ActivityPanel({
  user,
  measure,
}: {
  user: UserPage;
  measure: Measure;
}) {
  const navigate = useNavigate({ from: "/user" });
  const active = user.days.filter(({ is_active }) => is_active).length;
  const sum = user.days.reduce((total, day) => total + measured(day, measure), 0);
  return (
    <Panel
      title="The last 28 days"
      note={
        active === 0
          ? "No activity on any of these days (UTC)."
          : `Active on ${count(active, "day")} (UTC), ${count(sum, measure.slice(0, -1))}.`
      }
    >
      <ToggleGroup
        className="toggles corner"
        aria-label="What is counted"
        value={[measure]}
        onValueChange={([chosen]) =>
          void navigate({
            search: (before) => ({ ...before, by: (chosen as Measure | undefined) ?? measure }),
            replace: true,
            resetScroll: false,
          })
        }
      >
        {MEASURES.map((each) => (
          <Toggle key={each} value={each}>
            {MEASURE_WORDS[each]}
          </Toggle>
        ))}
      </ToggleGroup>
      <DayBars days={user.days} measure={measure} />
      <DaysTable days={user.days} />
    </Panel>
  );
});
