/** What a person may say of an alert. The alerts worker acts on it in its turn. */
import { Menu } from "@base-ui/react/menu";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import type { Alert } from "../api/client.ts";
import { body, gateway } from "../api/client.ts";
import { alertsQuery } from "../api/queries.ts";
import { isOpen } from "../words/alerts.ts";

type Command =
  | { kind: "acknowledge" }
  | { kind: "snooze"; hours: number }
  | { kind: "verdict"; verdict: "helped" | "wrong" | "duplicate" };

const TAKE_ON: readonly (readonly [string, Command])[] = [
  ["I take care of it", { kind: "acknowledge" }],
  ["Not for a day", { kind: "snooze", hours: 24 }],
  ["Not for a week", { kind: "snooze", hours: 7 * 24 }],
];

const VERDICTS: readonly (readonly [string, Command])[] = [
  ["It helped", { kind: "verdict", verdict: "helped" }],
  ["It was wrong", { kind: "verdict", verdict: "wrong" }],
  ["It said nothing new", { kind: "verdict", verdict: "duplicate" }],
];

const SENT: Readonly<Record<Command["kind"], string>> = {
  acknowledge: "Taken on",
  snooze: "Put off",
  verdict: "Thank you, noted",
};

function send(alert_id: string, command: Command) {
  const params = { path: { alert_id } };
  switch (command.kind) {
    case "acknowledge":
      return body(gateway.POST("/alerts/{alert_id}/acknowledge", { params, body: {} }));
    case "snooze":
      return body(
        gateway.POST("/alerts/{alert_id}/snooze", { params, body: { hours: command.hours } }),
      );
    case "verdict":
      return body(
        gateway.POST("/alerts/{alert_id}/verdict", { params, body: { verdict: command.verdict } }),
      );
  }
}

export function AlertActions({ alert }: { alert: Alert }) {
  const queries = useQueryClient();
  const { mutate, data, variables, error, isPending } = useMutation({
    mutationFn: (command: Command) => send(alert.alert_id, command),
    onSuccess: () => queries.invalidateQueries({ queryKey: alertsQuery.queryKey }),
  });
  const groups: readonly (readonly [string, readonly (readonly [string, Command])[]])[] = [
    ...(isOpen(alert) ? [["Take it on", TAKE_ON] as const] : []),
    ["What was it worth?", VERDICTS],
  ];
  return (
    <span className="act">
      <Menu.Root>
        <Menu.Trigger
          className="quiet"
          disabled={isPending}
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
                    <Menu.Item key={label} className="item" onClick={() => mutate(command)}>
                      {label}
                    </Menu.Item>
                  ))}
                </Menu.Group>
              ))}
            </Menu.Popup>
          </Menu.Positioner>
        </Menu.Portal>
      </Menu.Root>
      <span role="status" className="outcome">
        {error !== null
          ? error.message
          : data !== undefined && variables !== undefined
            ? SENT[variables.kind]
            : ""}
      </span>
    </span>
  );
}
