/** Risk over time, and ahead. */
import { memo } from "react";
import { Toggle } from "@base-ui/react/toggle";
import { ToggleGroup } from "@base-ui/react/toggle-group";
import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import type { UserPage } from "../api/client.ts";
import { userAlertsQuery, userHistoryQuery } from "../api/queries.ts";
import { ahead } from "../charts/ahead.ts";
import { SPANS, threshold, type Span } from "../charts/course.ts";
import { CourseTable, RiskCourse } from "../charts/RiskCourse.tsx";
import { Moment } from "../parts/Moment.tsx";
import { Panel } from "../parts/Page.tsx";
import { Failure, Loading } from "../parts/States.tsx";

const SPAN_WORDS: Readonly<Record<Span, string>> = {
  week: "Week",
  month: "30 days",
  all: "All kept",
};

export const RiskPanel = memo(function RiskPanel({
  user,
  span,
  faint,
}: {
  user: UserPage;
  span: Span;
  faint: boolean;
}) {
  const { data, error, refetch } = useQuery({
    ...userHistoryQuery(user.user_id),
    refetchInterval: 10_000,
  });
  const { data: told } = useQuery(userAlertsQuery(user.user_id));
  const navigate = useNavigate({ from: "/user" });
  const { score } = user;
  if (score === null) return null;
  const now = Date.parse(score.as_of);
  const rises = ahead(user.crossings);
  const alerts = told?.episodes.flatMap((episode) => episode.alerts) ?? [];
  const chart = { scores: data?.scores ?? [], rises, alerts, now };
  return (
    <Panel
      title="Risk over time"
      note={
        rises.length === 0
          ? "Silence does not raise this user's risk to any rung of the model's ladder."
          : "Scores as they were given; from now on, what silence alone would bring."
      }
    >
      <ToggleGroup
        className="toggles corner"
        aria-label="How far back"
        value={[span]}
        onValueChange={([chosen]) =>
          void navigate({
            search: (before) => ({ ...before, span: (chosen as Span | undefined) ?? span }),
            replace: true,
            resetScroll: false,
          })
        }
      >
        {SPANS.map((each) => (
          <Toggle key={each} value={each}>
            {SPAN_WORDS[each]}
          </Toggle>
        ))}
      </ToggleGroup>
      {error !== null && data === undefined ? (
        <Failure error={error} again={() => void refetch()} />
      ) : data === undefined ? (
        <Loading lines={5} />
      ) : (
        <>
          <RiskCourse
            {...chart}
            riskNow={score.churn_probability}
            span={span}
            threshold={threshold(user.crossings, user.at_risk_at, alerts)}
            faint={faint}
          />
          {data.scores.length === 0 ? (
            <p className="note">No score of this user is kept yet; the next one will be.</p>
          ) : (
            data.complete_from !== null &&
            data.complete_from !== data.scores[0]?.at && (
              <p className="note">
                Before <Moment at={data.complete_from} />, the highest and the last score of each
                UTC day.
              </p>
            )
          )}
          <CourseTable {...chart} />
        </>
      )}
    </Panel>
  );
});
