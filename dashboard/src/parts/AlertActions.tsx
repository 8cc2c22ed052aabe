/** What a person may say of an alert, and what became of it. */
import { Menu } from "@base-ui/react/menu";
import { useState } from "react";
import type { Alert } from "../api/client.ts";
import { useAlertCommand, type Command } from "../api/commands.ts";
import { useMay } from "../api/session.ts";
import { isOpen } from "../words/alerts.ts";
import { CommandOutcome } from "./CommandOutcome.tsx";

export const TAKE_ON: readonly (readonly [string, Command])[] = [
  ["I take care of it", { kind: "acknowledge" }],
  ["Not for a day", { kind: "snooze", hours: 24 }],
  ["Not for a week", { kind: "snooze", hours: 7 * 24 }],
];

const VERDICTS: readonly (readonly [string, Command])[] = [
  ["It helped", { kind: "verdict", verdict: "helped", note: "" }],
  ["It was wrong", { kind: "verdict", verdict: "wrong", note: "" }],
  ["It said nothing new", { kind: "verdict", verdict: "duplicate", note: "" }],
];

export function AlertActions({ alert }: { alert: Alert }) {
  const may = useMay("operate");
  // Of a list of hundreds, hardly one is acted on: the others are spared a menu.
  const [isWanted, setWanted] = useState(false);
  if (!may) return null;
  const name = `Act on the alert about ${alert.user_id}`;
  return (
    <span className="act">
      {isWanted ? (
        <Acting alert={alert} name={name} />
      ) : (
        <button
          type="button"
          className="quiet"
          aria-label={name}
          aria-haspopup="menu"
          aria-expanded={false}
          onClick={() => setWanted(true)}
          onKeyDown={(event) => {
            if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
            event.preventDefault();
            setWanted(true);
          }}
        >
          Act
        </button>
      )}
    </span>
  );
}

/** The menu, open at first. */
function Acting({ alert, name }: { alert: Alert; name: string }) {
  const { give, progress } = useAlertCommand(alert.user_id, alert.dedup_key);
  const isUnderWay = progress.state === "sending" || progress.state === "waiting";
  const groups: readonly (readonly [string, readonly (readonly [string, Command])[]])[] = [
    ...(isOpen(alert) ? [["Take it on", TAKE_ON] as const] : []),
    ["What was it worth?", VERDICTS],
  ];
  return (
    <>
      <Menu.Root defaultOpen>
        <Menu.Trigger className="quiet" disabled={isUnderWay} aria-label={name}>
          Act
        </Menu.Trigger>
        <Menu.Portal>
          <Menu.Positioner sideOffset={4} align="end">
            <Menu.Popup className="popup">
              {groups.map(([group, commands]) => (
                <Menu.Group key={group}>
                  <Menu.GroupLabel className="group">{group}</Menu.GroupLabel>
                  {commands.map(([label, command]) => (
                    <Menu.Item key={label} className="item" onClick={() => give(command)}>
                      {label}
                    </Menu.Item>
                  ))}
                </Menu.Group>
              ))}
            </Menu.Popup>
          </Menu.Positioner>
        </Menu.Portal>
      </Menu.Root>
      <CommandOutcome progress={progress} />
    </>
  );
}
