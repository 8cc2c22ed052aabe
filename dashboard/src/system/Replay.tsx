/** Sending letters back: first it is asked how many, then a person says so, then it is watched. */
import { AlertDialog } from "@base-ui/react/alert-dialog";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useId, useState } from "react";
import { Refused } from "../api/client.ts";
import type { DeadLetter, SystemPage } from "../api/machine.ts";
import {
  ask,
  sendAll,
  useAccept,
  useIsRead,
  type ReplayAnswer,
  type ReplayOrder,
  type Sent,
} from "../api/replays.ts";
import { useMay } from "../api/session.ts";
import { Choice } from "../parts/Choice.tsx";
import { count, number } from "../words/numbers.ts";

/** All that the list shows, by topic and reason, of one partition or of all. */
export function ReplayMany({
  topic,
  reason,
  partitions,
}: {
  topic: NonNullable<ReplayOrder["topic"]>;
  reason: string;
  partitions: readonly number[];
}) {
  const [chosen, choose] = useState("");
  if (!useMay("operate")) return null;
  const partition = chosen === "" ? undefined : Number(chosen);
  const order: ReplayOrder =
    partition === undefined && reason === ""
      ? { topic, all: true }
      : { topic, reason, ...(partition !== undefined && { partition }) };
  return (
    <div className="controls">
      <Choice
        name="Of partition"
        options={["", ...partitions.map(String)].map((each) => ({
          value: each,
          label: each === "" ? "all" : each,
        }))}
        value={chosen}
        choose={choose}
      />
      <Replaying key={JSON.stringify(order)} order={order} label="Send back…" />
    </div>
  );
}

/** One letter, as it is or corrected. */
export function ReplayOne({
  topic,
  letter,
}: {
  topic: NonNullable<ReplayOrder["topic"]>;
  letter: DeadLetter;
}) {
  const text = letter.value !== null && !letter.value.is_cut ? letter.value.text : null;
  const [value, correct] = useState(text ?? "");
  const field = useId();
  if (!useMay("operate")) return null;
  if (letter.replayed) return <p className="note">It was sent back before.</p>;
  const corrected = text !== null && value !== text;
  return (
    <div className="correction">
      {text !== null && (
        <>
          <label htmlFor={field}>Value to send back</label>
          <textarea
            id={field}
            rows={3}
            spellCheck={false}
            value={value}
            onChange={(event) => correct(event.target.value)}
          />
        </>
      )}
      <Replaying
        order={{ topic, letters: [letter.id], ...(corrected && { value }) }}
        label={corrected ? "Send back corrected…" : "Send back…"}
      />
    </div>
  );
}

function Replaying({ order, label }: { order: ReplayOrder; label: string }) {
  const queries = useQueryClient();
  const [sent, setSent] = useState<Sent | null>(null);
  const looking = useMutation({
    mutationFn: () => ask({ ...order, dry_run: true }),
    onMutate: () => setSent(null),
  });
  const sending = useMutation({
    mutationFn: () => sendAll(order, setSent),
    onMutate: () => looking.reset(),
    onSettled: () => queries.invalidateQueries({ queryKey: ["dead-letters"] }),
  });
  const read = useIsRead(order.topic ?? "activity-event", sending.isPending ? null : sent);
  const failed = sending.error ?? looking.error;
  return (
    <div className="acts">
      <button
        type="button"
        className="quiet"
        disabled={looking.isPending || sending.isPending}
        onClick={() => {
          sending.reset();
          looking.mutate();
        }}
      >
        {label}
      </button>
      <Confirm found={looking.data} close={looking.reset} go={() => sending.mutate()} />
      <span role="status" className="outcome">
        {sending.isPending
          ? `Sending back… ${number(sent?.wentBack ?? 0)} so far`
          : failed !== null
            ? whyFailed(failed)
            : sent !== null
              ? `${goneSaid(sent, read)}${sent.stay === 0 ? "" : ` ${staysSaid(sent.stay)}`}`
              : looking.isPending
                ? "Looking…"
                : ""}
      </span>
    </div>
  );
}

function Confirm({
  found,
  close,
  go,
}: {
  found: ReplayAnswer | undefined;
  close: () => void;
  go: () => void;
}) {
  const most = found?.more === true ? "At least " : "";
  return (
    <AlertDialog.Root
      open={found !== undefined}
      onOpenChange={(isOpen) => {
        if (!isOpen) close();
      }}
    >
      <AlertDialog.Portal>
        <AlertDialog.Backdrop className="backdrop" />
        <AlertDialog.Popup className="dialog">
          {found !== undefined && (
            <>
              <AlertDialog.Title>
                {found.went_back === 0
                  ? "Nothing can go back"
                  : `${most}${count(found.went_back, "letter")} would go back to ${found.topic}`}
              </AlertDialog.Title>
              <AlertDialog.Description>
                {found.went_back > 0 &&
                  "Each once, with its id and log time, behind what is in the topic now. This cannot be taken back."}
                {found.stay > 0 && ` ${staysSaid(found.stay)}`}
              </AlertDialog.Description>
              {found.staying.length > 0 && (
                <ul className="staying">
                  {found.staying.slice(0, 5).map((each) => (
                    <li key={each.id}>
                      <code>{each.id}</code> {each.why}
                    </li>
                  ))}
                </ul>
              )}
              <div className="acts">
                <AlertDialog.Close className="quiet">
                  {found.went_back === 0 ? "Close" : "Leave them"}
                </AlertDialog.Close>
                {found.went_back > 0 && (
                  <AlertDialog.Close onClick={go}>
                    Send back {number(found.went_back)}
                  </AlertDialog.Close>
                )}
              </div>
            </>
          )}
        </AlertDialog.Popup>
      </AlertDialog.Portal>
    </AlertDialog.Root>
  );
}

/** What was sent, and whether its reader is through with it. */
export function goneSaid(sent: Sent, read: boolean | null): string {
  if (sent.wentBack === 0) return "None went back.";
  const went = `${count(sent.wentBack, "letter")} went back`;
  if (read === true) return `Done: ${went}, and ${sent.wentBack === 1 ? "was" : "were"} read.`;
  return read === null ? `${went}.` : `${went}; not read yet.`;
}

const staysSaid = (stay: number): string => `${count(stay, "letter")} ${stay === 1 ? "stays" : "stay"}.`;

function whyFailed(error: Error): string {
  if (!(error instanceof Refused)) return error.message;
  return error.fields[0]?.reason ?? error.detail;
}

/** Partitions that a run of bad records stopped, each with a way on. */
export function Held({ page }: { page: SystemPage }) {
  const allowed = useMay("operate");
  const held = page.topics.flatMap(({ topic, partitions }) =>
    partitions.flatMap((each) =>
      each.held === null ? [] : [{ topic, partition: each.partition, held: each.held }],
    ),
  );
  const { mutate, isPending, error, data } = useAccept();
  if (held.length === 0 && data === undefined) return null;
  return (
    <div className="held-partitions">
      <ul>
        {held.map((each) => (
          <li key={`${each.topic} ${each.partition}`}>
            <code>{each.topic}</code> partition {each.partition} waits at {each.held}. What stopped
            it lies in the dead letters, and stays there.{" "}
            {allowed && (
              <button
                type="button"
                className="quiet"
                disabled={isPending}
                onClick={() => mutate(each as Parameters<typeof mutate>[0])}
              >
                Let it go on
              </button>
            )}
          </li>
        ))}
      </ul>
      <span role="status" className="outcome">
        {error !== null
          ? whyFailed(error)
          : data === undefined
            ? ""
            : `${data.topic} partition ${data.partition} goes on. Should the next hundred be as bad, it waits again.`}
      </span>
    </div>
  );
}
