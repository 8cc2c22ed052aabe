/** What became of a command: sent is not done. */
import type { Command, Progress } from "../api/commands.ts";

const DONE: Readonly<Record<Command["kind"], string>> = {
  acknowledge: "Taken on",
  snooze: "Put off",
  verdict: "Noted, thank you",
};

export function CommandOutcome({ progress }: { progress: Progress }) {
  return (
    <span role="status" className={`outcome ${progress.state}`}>
      {words(progress)}
    </span>
  );
}

export function words(progress: Progress): string {
  switch (progress.state) {
    case "none":
      return "";
    case "sending":
      return "Sending…";
    case "waiting":
      return "Sent, not done yet…";
    case "done":
      return DONE[progress.command.kind];
    case "unseen":
      return "Sent, but nothing has come of it. The alerts worker may be away, or the episode over.";
    case "failed":
      return `Not sent: ${progress.reason}`;
  }
}
