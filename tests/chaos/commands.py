"""What people say of alerts during a run, and what must come of it."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

import httpx2

from alerts.delivery.plan import ENDINGS
from contracts.alerts import AlertKind, ChurnAlert, decode_alert
from contracts.commands import AlertCommand, CommandKind, decode_command
from tests.chaos.check import Check
from tests.chaos.tap import Tapped

EVERY_S: Final = 0.2
RETRY_S: Final = 0.25
UNKNOWN_TRIES: Final = 12
"""The gateway knows an alert a moment after it was on the wire; one of an erased user, never."""
ENOUGH: Final = 10
"""So many commands of a kind cannot all have come too late."""
TRANSITION: Final[dict[CommandKind, AlertKind]] = {
    "acknowledge": "acknowledged",
    "snooze": "snoozed",
}


@dataclass
class Commander:
    """Takes on or puts off the episode that opened last, again and again, once each."""

    alerts: Sequence[Tapped]
    """Of `churn-alert`; grows."""
    gateways: Callable[[], Sequence[str]]
    random: random.Random
    quiet: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Who holds it is not disturbed by a command."""
    accepted: set[str] = field(default_factory=set)
    """command_ids that were answered with 202."""
    retries: Counter[str] = field(default_factory=Counter)
    done: bool = False
    """Set it, and `run` returns when no command is on its way."""

    async def run(self) -> None:
        """Say something of newly opened episodes until `done`."""
        read, known = 0, set[str]()
        async with httpx2.AsyncClient(timeout=10.0) as http:
            while not self.done:
                await asyncio.sleep(EVERY_S)
                new = [decode_alert(record.value or b"") for record in self.alerts[read:]]
                read += len(new)
                opened = [a for a in new if a.kind == "opened" and a.dedup_key not in known]
                if opened:
                    known.add(opened[-1].dedup_key)
                    async with self.quiet:
                        await self._say(http, opened[-1])

    async def _say(self, http: httpx2.AsyncClient, alert: ChurnAlert) -> None:
        """Until it is accepted, under one key; an alert nobody knows is let go."""
        kind = self.random.choice(tuple(TRANSITION))
        body: dict[str, object] = {"actor": "chaos"}
        if kind == "snooze":
            body["hours"] = self.random.choice((6, 24, 72))
        key = {"idempotency-key": f"chaos {alert.dedup_key}"}
        unknown = 0
        while unknown < UNKNOWN_TRIES:
            url = self.random.choice(self.gateways())
            path = f"{url}/alerts/{alert.alert_id}/{kind}"
            try:
                answer = await http.post(path, json=body, headers=key)
            except (httpx2.HTTPError, OSError) as error:
                self.retries[f"command {type(error).__name__}"] += 1
            else:
                if answer.status_code == 202:
                    self.accepted.add(answer.json()["command_id"])
                    return
                if answer.status_code not in (404, 503):
                    raise AssertionError(f"the gateway answered {answer.status_code} {answer.text}")
                unknown += answer.status_code == 404
                self.retries[f"command {answer.status_code}"] += 1
            await asyncio.sleep(RETRY_S)


def read_commands(records: Sequence[Tapped]) -> list[AlertCommand]:
    """Decode `alert-command` in log order."""
    return [
        decode_command(record.value or b"")
        for record in sorted(records, key=lambda r: (r.log, r.partition, r.offset))
    ]


def commands_check(
    commands: Sequence[AlertCommand],
    accepted: Collection[str],
    waiting: int,
    alerts: Sequence[ChurnAlert],
    erased: Collection[str],
) -> Check:
    """Accepted commands are obeyed, and nothing is taken on or put off without one.

    A command is void when its episode is over. Which of two partitions is read first is the
    machine's, so any command of an episode that has ended may have come too late. So is a snooze up
    to a moment that had passed when it came: time moves on fast in a run.
    """
    check = Check("every accepted command is obeyed unless its episode is over, and no other")
    on_log = {command.command_id for command in commands}
    over = {alert.dedup_key for alert in alerts if alert.kind in ENDINGS}
    seen = {(a.dedup_key, a.kind, a.occurred_at) for a in alerts if a.kind in TRANSITION.values()}
    said = {(c.dedup_key, TRANSITION[c.kind], c.at) for c in commands if c.kind in TRANSITION}
    obeyed = {(key, kind) for key, kind, _ in seen}
    for command_id in accepted:
        check.expect(command_id in on_log, f"{command_id} was accepted and is not in the log")
    for command in commands:
        transition = TRANSITION[command.kind]
        check.expect(
            (command.dedup_key, transition) in obeyed
            or command.dedup_key in over
            or command.user_id in erased
            or (command.until is not None and command.until <= command.at),
            f"{command.kind} of {command.user_id} at {command.at} was not obeyed",
        )
    for order, transition in TRANSITION.items():
        count = len({command.command_id for command in commands if command.kind == order})
        check.expect(
            count < ENOUGH or any(made == transition for _, made, _ in seen),
            f"not one of {count} commands to {order} was obeyed",
        )
    for key, kind, at in seen - said:
        check.differs(f"{kind} at {at} without a command: episode {key}")
    if waiting:
        check.differs(f"{waiting} commands were never read", waiting)
    return check


def order_check(alerts: Sequence[ChurnAlert]) -> Check:
    """An episode's first word is its opening, or its one word `churned`, and it ends once."""
    check = Check("each episode opens before anything else is told of it, and ends once")
    kinds: dict[str, list[str]] = {}
    ends: dict[str, set[str]] = {}
    for alert in alerts:
        kinds.setdefault(alert.dedup_key, []).append(alert.kind)
        if alert.kind in ENDINGS:
            ends.setdefault(alert.dedup_key, set()).add(alert.alert_id)
    for key, told in kinds.items():
        opens = told[0] == "opened" or set(told) == {"churned"}
        once = len(ends.get(key, ())) <= 1
        check.expect(opens and once, f"{key}: {', '.join(told)}")
    return check
