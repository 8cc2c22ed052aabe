/** What happened to users who were slipping away, as it happens and as far back as is kept. */
import { Toggle } from "@base-ui/react/toggle";
import { ToggleGroup } from "@base-ui/react/toggle-group";
import { useInfiniteQuery } from "@tanstack/react-query";
import { useState } from "react";
import { historyQuery } from "../api/alertQueries.ts";
import type { Alert } from "../api/client.ts";
import { newer } from "../api/feed.ts";
import { Empty, Failure, Loading } from "../parts/States.tsx";
import { KINDS, type AlertsSearch } from "../search.ts";
import { KIND_WORDS } from "../words/alerts.ts";
import { number } from "../words/numbers.ts";
import { AlertDays } from "./AlertDays.tsx";
import { Choice, Filters, useNarrow } from "./Filters.tsx";
import { together } from "./together.ts";

const AT_FIRST = 40;
const MORE = 100;

export function History({
  search,
  live,
  fresh,
}: {
  search: AlertsSearch;
  /** Everybody's latest. */
  live: readonly Alert[] | undefined;
  fresh: ReadonlySet<string>;
}) {
  const narrow = useNarrow();
  const { data, error, refetch, hasNextPage, fetchNextPage, isFetchingNextPage } = useInfiniteQuery(
    historyQuery(search),
  );
  const [shown, setShown] = useState(AT_FIRST);
  // Rows must not move away under somebody's pointer.
  const [held, setHeld] = useState<readonly Alert[] | null>(null);
  const pages = data?.pages.flatMap((page) => page.alerts) ?? [];
  const current = together(live ?? [], pages, search);
  const alerts = held ?? current;
  const waiting = held === null ? 0 : newer(current, held);
  const showMore = () => {
    setHeld(null);
    setShown(shown + MORE);
    if (alerts.length < shown + MORE && hasNextPage) void fetchNextPage();
  };
  return (
    <div className="stack">
      <Filters search={search}>
        <ToggleGroup
          className="toggles wide"
          aria-label="Only"
          value={[search.kind ?? "all"]}
          onValueChange={([kind]) =>
            narrow({ tab: "history", kind: KINDS.find((each) => each === kind) })
          }
        >
          <Toggle value="all">All</Toggle>
          {KINDS.map((each) => (
            <Toggle key={each} value={each}>
              {KIND_WORDS[each]}
            </Toggle>
          ))}
        </ToggleGroup>
        <Choice
          name="Told"
          value={search.arm}
          options={[["control", "only held out"]]}
          onChoose={(arm) => narrow({ arm })}
        />
      </Filters>
      {waiting > 0 && (
        <p className="note" role="status">
          {number(waiting)} new, held while you point at the list.
        </p>
      )}
      {data === undefined && alerts.length === 0 ? (
        error === null ? (
          <Loading lines={10} />
        ) : (
          <Failure error={error} again={() => void refetch()} />
        )
      ) : alerts.length === 0 ? (
        <Empty title={hasNextPage ? "None of these lately" : "No such alerts are kept"}>
          <p>
            {hasNextPage
              ? "Older ones may be kept."
              : "They appear here as soon as somebody's risk crosses a rule's threshold. No need to reload."}
          </p>
        </Empty>
      ) : (
        <div
          className="stack"
          onPointerEnter={() => setHeld(current)}
          onPointerLeave={() => setHeld(null)}
        >
          <AlertDays alerts={alerts.slice(0, shown)} fresh={fresh} />
        </div>
      )}
      {(alerts.length > shown || hasNextPage) && (
        <p className="more">
          <button type="button" disabled={isFetchingNextPage} onClick={showMore}>
            {isFetchingNextPage ? "Loading" : "Show more"}
          </button>
        </p>
      )}
      {data !== undefined && !hasNextPage && alerts.length > 0 && alerts.length <= shown && (
        <p className="note">
          These are all that are kept: the latest 16,000 of everybody, of one user the latest 40.
          Older ones are on the topic <code>churn-alert</code>.
        </p>
      )}
    </div>
  );
}
