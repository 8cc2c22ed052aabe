/** What is shown on demand, and costs nothing before. */
import { useState, type ReactNode } from "react";

export function Fold({ summary, children }: { summary: ReactNode; children: ReactNode }) {
  const [isShown, setShown] = useState(false);
  return (
    // Browsers open it by themselves, too: when a page is searched, for one.
    <details onToggle={({ currentTarget }) => setShown(currentTarget.open)}>
      {/* With the click, not with the event after it: otherwise it opens empty for a frame. */}
      <summary onClick={() => setShown(true)}>{summary}</summary>
      {isShown && children}
    </details>
  );
}
