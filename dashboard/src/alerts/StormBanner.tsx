/** So many alerts at once that they are held: why, since when, and who decides. */
import { AlertDialog } from "@base-ui/react/alert-dialog";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { decide, stormQuery, type Storm, type StormPage } from "../api/alertQueries.ts";
import { useMay } from "../api/session.ts";
import { Moment, useDataNow } from "../parts/Moment.tsx";
import { count, number } from "../words/numbers.ts";
import { DAY } from "../words/times.ts";

export function StormBanner() {
  const { data } = useQuery(stormQuery);
  const now = useDataNow();
  if (data === undefined) return null;
  const { raging, held, last, pending } = data;
  if (raging === null && held === 0) {
    const recent = last?.over != null && now !== null && now - Date.parse(last.over) < DAY;
    return recent ? <Passed last={last} /> : null;
  }
  // Nothing is left to decide: it is said that it goes on, and no more.
  if (raging !== null && !raging.holding && held === 0 && pending === null)
    return <GoesOn storm={raging} />;
  return <Raging page={data} />;
}

/** On other pages: that nobody is told at the moment, and where to decide about it. */
export function StormNotice() {
  const { data } = useQuery(stormQuery);
  if (data === undefined || data.held + Number(data.raging?.holding ?? false) === 0) return null;
  return (
    <p className="banner storming" role="note">
      <strong>Alert storm:</strong> {count(data.held, "message")} {data.held === 1 ? "is" : "are"}{" "}
      held, and nobody is told of new alerts.{" "}
      <Link to="/alerts" search={{}}>
        See why, and decide
      </Link>
    </p>
  );
}

function Raging({ page }: { page: StormPage }) {
  const { raging, held, pending } = page;
  const decided = raging?.decided ?? null;
  return (
    <section className="storm" aria-label="Alert storm">
      <h2>
        {raging === null
          ? "Messages are held, though the alert storm is over"
          : raging.holding
            ? "Alert storm: new alerts are held"
            : "Alert storm: what was held is being told"}
      </h2>
      {raging !== null && (
        <p>
          {number(raging.crossed)} of {count(raging.active, "user")} crossed a threshold at about
          the same time, <Moment at={raging.since} />. {raging.cause}
        </p>
      )}
      <p>
        {held === 0 ? (
          "Nothing is held at the moment."
        ) : (
          <>
            <Link
              to="/alerts"
              search={{ tab: "deliveries", delivery: "held" }}
              className="held"
              resetScroll={false}
            >
              {count(held, "message")}
            </Link>{" "}
            {held === 1 ? "waits" : "wait"} for a decision, or for the storm to clear.
          </>
        )}
        {pending !== null ? (
          <>
            {" "}
            {pending.actor === "" ? "Somebody" : pending.actor} decided to {pending.order} them{" "}
            <Moment at={pending.at} by="viewer" />; the delivery worker has not done it yet.
          </>
        ) : (
          decided !== null && (
            <>
              {" "}
              {whoDecided(decided)} <Moment at={decided.at} by="viewer" />.
            </>
          )
        )}
      </p>
      <Decide held={held} isHolding={raging?.holding ?? false} isPending={pending !== null} />
    </section>
  );
}

function Decide({
  held,
  isHolding,
  isPending,
}: {
  held: number;
  isHolding: boolean;
  isPending: boolean;
}) {
  const queries = useQueryClient();
  const allowed = useMay("operate");
  const {
    mutate,
    error,
    isPending: isSending,
  } = useMutation({
    mutationFn: decide,
    onSettled: () => queries.invalidateQueries({ queryKey: ["alerts"] }),
  });
  if (!allowed)
    return (
      <p className="note">
        To decide, your key needs the scope <code>operate</code>.
      </p>
    );
  const isOff = isPending || isSending;
  return (
    <div className="acts">
      <button
        type="button"
        className="strong"
        disabled={isOff || !(isHolding || held > 0)}
        onClick={() => mutate("release")}
      >
        {held === 0 ? "Hold nothing more" : `Release: tell ${held === 1 ? "it" : "them"}`}
      </button>
      <AlertDialog.Root>
        <AlertDialog.Trigger className="quiet" disabled={isOff || held === 0}>
          Discard…
        </AlertDialog.Trigger>
        <AlertDialog.Portal>
          <AlertDialog.Backdrop className="backdrop" />
          <AlertDialog.Popup className="dialog">
            <AlertDialog.Title>Tell nobody of {count(held, "message")}?</AlertDialog.Title>
            <AlertDialog.Description>
              What is held so far is dropped for good. Episodes stay open, and new alerts are held
              as long as the storm lasts.
            </AlertDialog.Description>
            <div className="acts">
              <AlertDialog.Close className="quiet">Keep them</AlertDialog.Close>
              <AlertDialog.Close className="harm" onClick={() => mutate("discard")}>
                Discard them
              </AlertDialog.Close>
            </div>
          </AlertDialog.Popup>
        </AlertDialog.Portal>
      </AlertDialog.Root>
      <span role="status" className="outcome">
        {error !== null
          ? error.message
          : isPending || isSending
            ? "Decided; it is being done."
            : ""}
      </span>
    </div>
  );
}

/** A person released what was held, and the storm has not cleared: new alerts are told. */
function GoesOn({ storm }: { storm: Storm }) {
  return (
    <p className="banner passed" role="status">
      The alert storm since <Moment at={storm.since} /> goes on, but nothing is held any more
      {storm.decided === null ? (
        "."
      ) : (
        <>
          : {whoDecided(storm.decided)} <Moment at={storm.decided.at} by="viewer" />.
        </>
      )}{" "}
      {storm.cause}
    </p>
  );
}

function Passed({ last }: { last: Storm }) {
  return (
    <p className="banner passed" role="note">
      The last alert storm cleared {last.over !== null && <Moment at={last.over} />}. {last.cause}
      {last.decided !== null && ` ${whoDecided(last.decided)}.`}
    </p>
  );
}

function whoDecided({ actor, order }: NonNullable<Storm["decided"]>): string {
  const who = actor === "" ? "Somebody" : actor;
  return order === "release" ? `${who} released what was held` : `${who} discarded what was held`;
}
