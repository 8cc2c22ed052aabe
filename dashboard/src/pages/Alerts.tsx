/** Who is slipping away and what was done about it: whether alerts were told, and whether they help. */
import { useInfiniteQuery } from "@tanstack/react-query";
import { Link, useSearch } from "@tanstack/react-router";
import { memo, useDeferredValue, useEffect, useRef } from "react";
import { deliveriesQuery, openQuery } from "../api/alertQueries.ts";
import type { Alert } from "../api/client.ts";
import { useAlerts, type Liveness } from "../api/feed.ts";
import { Deliveries } from "../alerts/Deliveries.tsx";
import { EffectPart } from "../alerts/EffectPart.tsx";
import { History } from "../alerts/History.tsx";
import { OpenNow } from "../alerts/OpenNow.tsx";
import { StormBanner, StormNotice } from "../alerts/StormBanner.tsx";
import { Verdicts } from "../alerts/Verdicts.tsx";
import { Page } from "../parts/Page.tsx";
import { ALERT_TABS, tabOf, type AlertsSearch, type AlertTab } from "../search.ts";
import { failed } from "../words/deliveries.ts";
import { count, number } from "../words/numbers.ts";
import "../styles/alerts.css";

const TAB_WORDS: Readonly<Record<AlertTab, string>> = {
  open: "Open now",
  history: "History",
  deliveries: "Deliveries",
  verdicts: "Verdicts",
  effect: "Effect",
};

export function Alerts() {
  const search = useSearch({ from: "/alerts" });
  // A long part takes a while to draw: the tab is marked before it.
  const shown = useDeferredValue(search);
  const tab = tabOf(search);
  const { alerts, error, liveness, fresh } = useAlerts();
  return (
    <Page
      title="Alerts"
      lead="Who crossed a rule's threshold, who was told, and whether it helps"
      aside={<Live liveness={liveness} lost={error !== null} />}
    >
      {tab === "open" || tab === "deliveries" ? <StormBanner /> : <StormNotice />}
      <Tabs current={tab} />
      <p className="unseen" role="status">
        {fresh.size > 0 ? `${count(fresh.size, "new alert")} since you opened this page` : ""}
      </p>
      <Part search={shown} alerts={alerts} fresh={fresh} />
    </Page>
  );
}

const Part = memo(function Part({
  search,
  alerts,
  fresh,
}: {
  search: AlertsSearch;
  alerts: readonly Alert[] | undefined;
  fresh: ReadonlySet<string>;
}) {
  switch (tabOf(search)) {
    case "open":
      return <OpenNow search={search} newest={alerts?.[0]} fresh={fresh} />;
    case "history":
      // Another list begins at its beginning.
      return <History key={JSON.stringify(search)} search={search} live={alerts} fresh={fresh} />;
    case "deliveries":
      return <Deliveries search={search} />;
    case "verdicts":
      return <Verdicts search={search} />;
    case "effect":
      return <EffectPart />;
  }
});

function Tabs({ current }: { current: AlertTab }) {
  const bar = useRef<HTMLUListElement>(null);
  const open = useInfiniteQuery(openQuery({})).data?.pages[0]?.open;
  const counts = useInfiniteQuery(deliveriesQuery({})).data?.pages[0]?.counts;
  const failures = counts === undefined ? 0 : failed(counts);
  // On a narrow screen the bar scrolls: whoever comes by an address sees where they are.
  useEffect(() => {
    const list = bar.current;
    const tab = list?.querySelector<HTMLElement>("[aria-current]");
    if (list == null || tab == null) return;
    const [around, it] = [list.getBoundingClientRect(), tab.getBoundingClientRect()];
    list.scrollLeft += it.left - around.left - (around.width - it.width) / 2;
  }, [current, open, failures]);
  return (
    <nav className="tabs" aria-label="Parts of this page">
      <ul ref={bar}>
        {ALERT_TABS.map((tab) => (
          <li key={tab}>
            <Link
              to="/alerts"
              search={tab === "open" ? {} : { tab }}
              // Filters do not make it another part, so the router is not asked which is current.
              activeOptions={{ exact: true, includeSearch: true }}
              aria-current={tab === current ? "page" : undefined}
            >
              {TAB_WORDS[tab]}
              {tab === "open" && open !== undefined && (
                <span className="many">
                  {number(open)} <span className="unseen">open</span>
                </span>
              )}
              {tab === "deliveries" && failures > 0 && (
                <span className="many bad">{number(failures)} failed</span>
              )}
            </Link>
          </li>
        ))}
      </ul>
    </nav>
  );
}

function Live({ liveness, lost }: { liveness: Liveness; lost: boolean }) {
  const [state, words] = lost
    ? ["lost", "not connected"]
    : liveness === "live"
      ? ["live", "live"]
      : ["polling", "asked for every 5 s"];
  return (
    <p className={`liveness ${state}`} role="status">
      <span className="dot" aria-hidden="true" /> {words}
    </p>
  );
}
