/** What a person may say of an alert, and what became of it. */
import { Menu } from "@base-ui/react/menu";
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
  const { give, progress } = useAlertCommand(alert.user_id, alert.dedup_key);
  const may = useMay("operate");
  const isUnderWay = progress.state === "sending" || progress.state === "waiting";
  const groups: readonly (readonly [string, readonly (readonly [string, Command])[]])[] = [
    ...(isOpen(alert) ? [["Take it on", TAKE_ON] as const] : []),
    ["What was it worth?", VERDICTS],
  ];
  if (!may) return null;
  return (
    <span className="act">
      <Menu.Root>
        <Menu.Trigger
          className="quiet"
          disabled={isUnderWay}
          aria-label={`Act on the alert about ${alert.user_id}`}
        >
          Act
        </Menu.Trigger>
        <Menu.Portal>
          <Menu.Positioner sideOffset={4} align="end">
            <Menu.Popup className="popup">
              {groups.map(([name, commands]) => (
                <Menu.Group key={name}>
                  <Menu.GroupLabel className="group">{name}</Menu.GroupLabel>
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
    </span>
  );
}
