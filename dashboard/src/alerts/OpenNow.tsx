/** Who is slipping away now and has not come back: every open episode with its newest alert. */
import { Toggle } from "@base-ui/react/toggle";
import { ToggleGroup } from "@base-ui/react/toggle-group";
import { useInfiniteQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useEffect } from "react";
import { openQuery } from "../api/alertQueries.ts";
import type { Alert } from "../api/client.ts";
import { Empty, Failure, Loading } from "../parts/States.tsx";
import { OPEN_STATES, type AlertsSearch } from "../search.ts";
import { AlertDays } from "./AlertDays.tsx";
import { Filters, useNarrow } from "./Filters.tsx";

const CHOICES: readonly (readonly [string, string])[] = [
  ["all", "All"],
  ["open", "Nobody's yet"],
  ["acknowledged", "Taken on"],
  ["snoozed", "Put off"],
  ["control", "Held out"],
];

export function OpenNow({
  search,
  newest,
  fresh,
}: {
  search: AlertsSearch;
  /** The last alert that came live: something may have opened or ended. */
  newest: Alert | undefined;
  fresh: ReadonlySet<string>;
}) {
  const queries = useQueryClient();
  const narrow = useNarrow();
  const { data, error, refetch, hasNextPage, fetchNextPage, isFetchingNextPage } = useInfiniteQuery(
    openQuery(search),
  );
  const id = newest?.alert_id;
  useEffect(() => {
    if (id !== undefined) void queries.invalidateQueries({ queryKey: ["alerts", "open"] });
  }, [id, queries]);
  const alerts = data?.pages.flatMap((page) => page.alerts) ?? [];
  const chosen = search.arm ?? search.state ?? "all";
  return (
    <div className="stack">
      <Filters search={search}>
        <ToggleGroup
          className="toggles wide"
          aria-label="Only"
          value={[chosen]}
          onValueChange={([to]) =>
            narrow({
              state: OPEN_STATES.find((each) => each === to),
              arm: to === "control" ? to : undefined,
            })
          }
        >
          {CHOICES.map(([value, words]) => (
            <Toggle key={value} value={value}>
              {words}
            </Toggle>
          ))}
        </ToggleGroup>
      </Filters>
      {search.arm === "control" && (
        <p className="note" role="note">
          The holdout keeps these from everybody. Whoever acts on them spoils the measurement of
          what alerts do.
        </p>
      )}
      {data === undefined ? (
        error === null ? (
          <Loading lines={10} />
        ) : (
          <Failure error={error} again={() => void refetch()} />
        )
      ) : alerts.length === 0 ? (
        <Nothing search={search} chosen={chosen} />
      ) : (
        <AlertDays alerts={alerts} fresh={fresh} />
      )}
      {hasNextPage && (
        <p className="more">
          <button type="button" disabled={isFetchingNextPage} onClick={() => void fetchNextPage()}>
            {isFetchingNextPage ? "Loading" : "Show more"}
          </button>
        </p>
      )}
    </div>
  );
}

function Nothing({ search, chosen }: { search: AlertsSearch; chosen: string }) {
  if (chosen !== "all" || search.rule !== undefined || search.severity !== undefined)
    return <Empty title="None of these are open" />;
  return (
    <Empty title="Nobody is slipping away">
      <p>
        Whoever's risk crosses a rule's threshold appears here by themselves, and goes when they
        come back.{" "}
        <Link to="/alerts" search={{ tab: "history" }}>
          See what was
        </Link>
        , or{" "}
        <Link to="/at-risk" search={{}}>
          who is most at risk
        </Link>
        .
      </p>
    </Empty>
  );
}
