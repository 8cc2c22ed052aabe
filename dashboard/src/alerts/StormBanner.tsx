/** So many alerts at once that they are held: why, since when, and who decides. */
import { AlertDialog } from "@base-ui/react/alert-dialog";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { decide, stormQuery, type StormPage } from "../api/alertQueries.ts";
import { useMay } from "../api/session.ts";
import { Moment, useDataNow } from "../parts/Moment.tsx";
import { count, number } from "../words/numbers.ts";
import { DAY } from "../words/times.ts";

export function StormBanner() {
  const { data } = useQuery(stormQuery);
  const now = useDataNow();
  if (data === undefined) return null;
  if (data.raging === null && data.held === 0) {
    const { last } = data;
    const recent = last?.over != null && now !== null && now - Date.parse(last.over) < DAY;
    return recent ? <Passed last={last} /> : null;
  }
  return <Raging page={data} />;
}

function Raging({ page }: { page: StormPage }) {
  const { raging, held, pending } = page;
  const decided = pending ?? raging?.decided ?? null;
  return (
    <section className="storm" aria-label="Alert storm">
      <h2>
        {raging === null
          ? `${count(held, "message")} held`
          : raging.holding
            ? "Alert storm: openings are held"
            : "Alert storm: a person released what was held"}
      </h2>
      {raging !== null && (
        <p>
          {number(raging.crossed)} of {number(raging.active)} users opened an episode within the
          window, since <Moment at={raging.since} />. {raging.cause}
        </p>
      )}
      <p>
        <strong>{count(held, "message")}</strong> {held === 1 ? "waits" : "wait"} to be told.
        {decided !== null && (
          <>
            {" "}
            {decided.actor === "" ? "Somebody" : decided.actor} decided to {decided.order} them{" "}
            <Moment at={decided.at} by="viewer" />
            {pending !== null && "; the delivery worker has not done it yet"}.
          </>
        )}
      </p>
      <Decide held={held} isPending={pending !== null} />
    </section>
  );
}

function Decide({ held, isPending }: { held: number; isPending: boolean }) {
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
      <button type="button" disabled={isOff} onClick={() => mutate("release")}>
        Release: tell them
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
              <AlertDialog.Close onClick={() => mutate("discard")}>Discard them</AlertDialog.Close>
            </div>
          </AlertDialog.Popup>
        </AlertDialog.Portal>
      </AlertDialog.Root>
      <span role="status" className="outcome">
        {error !== null ? error.message : isPending ? "Decided; it is being done." : ""}
      </span>
    </div>
  );
}

function Passed({ last }: { last: NonNullable<StormPage["last"]> }) {
  return (
    <p className="banner passed" role="note">
      The last alert storm cleared {last.over !== null && <Moment at={last.over} />}. {last.cause}
      {last.decided !== null &&
        ` ${last.decided.actor === "" ? "Somebody" : last.decided.actor} decided to ${last.decided.order} what was held.`}
    </p>
  );
}
