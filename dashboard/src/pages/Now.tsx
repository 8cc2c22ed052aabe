/** Where everybody stands, how that went, whether it was right, and what happens just now. */
import { Switch } from "@base-ui/react/switch";
import { Toggle } from "@base-ui/react/toggle";
import { ToggleGroup } from "@base-ui/react/toggle-group";
import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import type { Population } from "../api/client.ts";
import { useAlerts, type Liveness } from "../api/feed.ts";
import { populationQuery, ratesQuery } from "../api/queries.ts";
import { StormNotice } from "../alerts/StormBanner.tsx";
import { AlertItem } from "../parts/AlertItem.tsx";
import { Moment } from "../parts/Moment.tsx";
import { Figure, Page, Panel } from "../parts/Page.tsx";
import { Empty, Failure, Loading } from "../parts/States.tsx";
import { Trend } from "../now/Trend.tsx";
import {
  bandName,
  basisOf,
  lapsedOf,
  leftOut,
  RANGES,
  share,
  stayedOf,
  total,
  usersOf,
  type Basis,
  type Range,
} from "../now/trend.ts";
import { count, number, percent } from "../words/numbers.ts";
import { date } from "../words/times.ts";

const ALERTS = 12;

export function Now() {
  const { range = "week", basis } = useSearch({ from: "/" });
  const { data, error, refetch } = useQuery(populationQuery(range));
  return (
    <Page title="Now" lead="Where everybody stands, and what is happening" aside={<Rates />}>
      {data === undefined ? (
        error === null ? (
          <Loading lines={9} />
        ) : (
          <Failure error={error} again={() => void refetch()} />
        )
      ) : data.as_of === null ? (
        <Empty title="Nobody has been counted yet">
          <p>
            Users appear here with their first score. Counting is done by{" "}
            <code>ebbtide history</code>; <Link to="/system">System</Link> says whether it runs.
          </p>
        </Empty>
      ) : (
        <Standing population={data} wanted={basis} />
      )}
      <Feed />
    </Page>
  );
}

function Standing({ population, wanted }: { population: Population; wanted: Basis | undefined }) {
  const basis = basisOf(population, wanted);
  return (
    <>
      <Whose population={population} basis={basis} />
      <Bands population={population} basis={basis} />
      <Panel title="How it went" className={basis === "simulated" ? "faded" : ""}>
        <Ranges range={population.range} />
        {population.trend.length < 2 ? (
          <p className="note">The first hour has not ended yet.</p>
        ) : (
          <Trend population={population} basis={basis} />
        )}
      </Panel>
    </>
  );
}

/** Who is in the totals, and who is not. */
function Whose({ population, basis }: { population: Population; basis: Basis }) {
  const navigate = useNavigate({ from: "/" });
  const out = leftOut(population, basis);
  const simulated = total(population, "simulated");
  return (
    <div className="whose">
      <p>
        <strong>{number(total(population, "counted"))}</strong>{" "}
        {total(population, "counted") === 1 ? "user is" : "users are"} counted
        {population.scored_at !== null && (
          <>
            , the last scored <Moment at={population.scored_at} />
          </>
        )}
        . <Lapsed population={population} basis={basis} />{" "}
        <span className="soft">
          Left out: {number(out.little)} with little evidence, {number(out.gone)} who cancelled
          {simulated > 0 && <>, {number(simulated)} judged by a model of simulated users</>}.
        </span>
      </p>
      {simulated > 0 && (
        <label className="switch">
          <Switch.Root
            checked={basis === "simulated"}
            onCheckedChange={(on) =>
              void navigate({
                search: (before) => ({ ...before, basis: on ? "simulated" : "counted" }),
                replace: true,
              })
            }
          >
            <Switch.Thumb />
          </Switch.Root>
          Show the simulated model&apos;s, greyed
        </label>
      )}
    </div>
  );
}

/** Those who are no risk any more. */
function Lapsed({ population, basis }: { population: Population; basis: Basis }) {
  const lapsed = lapsedOf(population, basis);
  if (lapsed === null) return null;
  return (
    <>
      <Link to="/at-risk" search={{ lapsed: "only" }} className="value">
        Lapsed: {number(lapsed.users)}
      </Link>
      <span className="soft">
        , in no band, with nothing done for more than {count(lapsed.days, "day")}.
      </span>
    </>
  );
}

function Bands({ population, basis }: { population: Population; basis: Basis }) {
  const all = total(population, basis);
  const { cohorts } = population;
  return (
    <section aria-label="Users by risk band" className={`bands ${basis}`}>
      <svg className="whole" aria-hidden="true" focusable="false">
        {parts(population, basis).map(({ band, from, size }) => (
          <rect
            key={band}
            className={`layer band-${band}`}
            x={`${from * 100}%`}
            width={`${size * 100}%`}
            height="100%"
          />
        ))}
      </svg>
      <ul>
        {[...population.bands.entries()].reverse().map(([i, band]) => {
          const users = usersOf(band, basis);
          return (
            <li key={band.low} className={`band band-${i}`}>
              <span className="name">Risk {bandName(band)}</span>
              <Link
                to="/at-risk"
                search={{
                  ...(band.low > 0 && { min_risk: band.low }),
                  ...(band.high < 1 && { max_risk: band.high }),
                }}
                className="value"
                aria-label={`${number(users.counted)} users at a risk of ${bandName(band)}: list them`}
              >
                {number(users.counted)}
              </Link>
              <span className="note">{shareOf(users.counted, all)} of users</span>
              <Became band={band} basis={basis} horizon={cohorts?.horizon_days ?? null} />
            </li>
          );
        })}
      </ul>
      <p className="note">
        {cohorts === null
          ? "What became of each band is said once the horizon has passed for a day's users."
          : `What became of users by where they stood when each UTC day from ${date(Date.parse(cohorts.first_day))} to ${date(Date.parse(cohorts.last_day))} ended on which they were scored: no activity for ${cohorts.horizon_days} days. A user counts once for each such day.`}
      </p>
    </section>
  );
}

/** What the band's mature cohorts showed. */
function Became({
  band,
  basis,
  horizon,
}: {
  band: Population["bands"][number];
  basis: Basis;
  horizon: number | null;
}) {
  const found = share(band, basis);
  const stayed = stayedOf(band, basis);
  if (found === null || stayed === null || horizon === null) {
    return <span className="became soft">not mature yet</span>;
  }
  if (stayed.user_days < LEAST_USER_DAYS) {
    return <span className="became soft">too few to tell yet: {number(stayed.user_days)}</span>;
  }
  return (
    <span className={`became${found.fits ? "" : " off"}`}>
      <strong>{percent(found.share)}</strong> stayed away
      <span className="note">
        of {count(stayed.user_days, "user-day")}
        {!found.fits && `, ${found.share < band.low ? "fewer" : "more"} than the band says`}
      </span>
    </span>
  );
}

function parts(population: Population, basis: Basis) {
  const all = total(population, basis);
  let from = 0;
  return [...population.bands.entries()].reverse().map(([band, each]) => {
    const size = all === 0 ? 0 : usersOf(each, basis).counted / all;
    const part = { band, from, size };
    from += size;
    return part;
  });
}

const RANGE_WORDS: Readonly<Record<Range, string>> = {
  day: "24 hours",
  week: "7 days",
  month: "30 days",
  year: "Year",
};

function Ranges({ range }: { range: Range }) {
  const navigate = useNavigate({ from: "/" });
  return (
    <ToggleGroup
      className="toggles wide"
      aria-label="How far back"
      value={[range]}
      onValueChange={([chosen]) => {
        if (chosen === undefined) return;
        void navigate({
          search: (before) => ({ ...before, range: chosen as Range }),
          replace: true,
        });
      }}
    >
      {RANGES.map((each) => (
        <Toggle key={each} value={each}>
          {RANGE_WORDS[each]}
        </Toggle>
      ))}
    </ToggleGroup>
  );
}

/** Fewer tell little, and may be what a backlog read in large steps left of a day. */
const LEAST_USER_DAYS = 100;

/** Exact where it is none or all, unlike a probability. */
function shareOf(some: number, all: number) {
  return some === 0 ? "0%" : some === all ? "100%" : percent(some / all);
}

function Rates() {
  const { data } = useQuery(ratesQuery);
  const rate = (value: number | null | undefined) =>
    value === undefined ? "…" : value === null ? "not known" : number(value);
  return (
    <dl className="rates">
      <Figure name="Events a second" value={rate(data?.events_per_second)} />
      <Figure name="Scores a second" value={rate(data?.scores_per_second)} />
    </dl>
  );
}

function Feed() {
  const { alerts, error, liveness, fresh } = useAlerts();
  return (
    <Panel title="Alerts, as they happen" note={<Live liveness={liveness} lost={error !== null} />}>
      <StormNotice />
      <p className="unseen" role="status">
        {fresh.size > 0 ? `${count(fresh.size, "new alert")} since you opened this page` : ""}
      </p>
      {alerts === undefined ? (
        error === null ? (
          <Loading lines={5} />
        ) : (
          <Failure error={error} />
        )
      ) : alerts.length === 0 ? (
        <Empty title="No alerts yet">
          <p>They appear here as soon as somebody&apos;s risk crosses a rule&apos;s threshold.</p>
        </Empty>
      ) : (
        <>
          <ul className="alerts">
            {alerts.slice(0, ALERTS).map((alert) => (
              <AlertItem key={alert.alert_id} alert={alert} fresh={fresh.has(alert.alert_id)} />
            ))}
          </ul>
          <p className="more">
            <Link to="/alerts" search={{}}>
              All alerts
            </Link>
          </p>
        </>
      )}
    </Panel>
  );
}

function Live({ liveness, lost }: { liveness: Liveness; lost: boolean }) {
  const [state, words] = lost
    ? ["lost", "not connected"]
    : liveness === "live"
      ? ["live", "live"]
      : ["polling", "asked for every 5 s"];
  return (
    <span className={`liveness ${state}`} role="status">
      <span className="dot" aria-hidden="true" /> {words}
    </span>
  );
}
