"""What receivers must have got, computed from `churn-alert` and the delivery log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

from standardwebhooks.webhooks import Webhook

from alerts.delivery.messages import of_alert
from contracts.alerts import ChurnAlert
from contracts.deliveries import row_id
from tests.chaos import channels
from tests.chaos.channels import KINDS, SLACK, WEBHOOK
from tests.chaos.check import Check
from tests.receivers import Taken


def told_check(
    alerts: Sequence[ChurnAlert],
    received: Sequence[Taken],
    states: Mapping[str, str],
    erased: Collection[str],
) -> Check:
    """Every alert of the treated was taken by each receiver.

    Nothing is held back in a run, so no end overtakes its opening. Of users who were erased nothing
    is kept, deliveries included.
    """
    check = Check("every alert of the treated was taken by each receiver")
    took = {
        name: {body for body, count in _bodies(name, received).items() if count > _refusals(body)}
        for name in KINDS
    }
    told: dict[tuple[str, str], bool] = {}
    for alert in alerts:
        if alert.arm == "treated" and alert.user_id not in erased:
            for name, kinds in KINDS.items():
                if alert.kind in kinds:
                    row = row_id(alert.alert_id, name)
                    there = body(alert, name) in took[name]
                    told[alert.user_id, row] = there or told.get((alert.user_id, row), False)
    for (user_id, row), there in told.items():
        check.expect(there, f"{row} of {user_id} is {states.get(row, 'not there')}")
    return check


def settled_check(alerts: Sequence[ChurnAlert], states: Mapping[str, str]) -> Check:
    """Every delivery in the log has come to a good end."""
    check = Check("every delivery is over, and none was given up")
    arms = {alert.alert_id: alert.arm for alert in alerts}
    for name, state in states.items():
        arm = arms[name.rpartition(":")[0]]
        good = "control" if arm == "control" else "sent"
        check.expect(state == good, f"{name} of the {arm} is {state}")
    return check


def received_check(alerts: Sequence[ChurnAlert], received: Sequence[Taken]) -> Check:
    """What arrived is an alert, under its id, with its bytes and its signature.

    A command that is done again after a rollback may tell the same id of another last score; then
    the wire has both, and so may the receivers.
    """
    check = Check(
        "what receivers got is an alert of the wire under its id, signed, none of control"
    )
    bodies: dict[str, set[tuple[str, bytes]]] = {name: set() for name in KINDS}
    for alert in alerts:
        if alert.arm == "treated":
            for name in KINDS:
                bodies[name].add((alert.alert_id, body(alert, name)))
    slack = {body_ for _, body_ in bodies[SLACK]}
    for taken in received:
        if taken.path == f"/{SLACK}":
            check.expect(taken.body in slack, f"no such alert: {taken.body[:200]!r}")
            continue
        id_ = taken.headers.get("webhook-id", "")
        check.expect((id_, taken.body) in bodies[WEBHOOK], f"no such alert: {id_} {taken.body!r}")
        if not _signed(taken, id_):
            check.differs(f"{id_}: the signature is another")
    return check


def figures(alerts: Sequence[ChurnAlert], received: Sequence[Taken]) -> dict[str, int]:
    """What is worth telling of it."""
    found = {"alerts of the control": len({a.alert_id for a in alerts if a.arm == "control"})}
    for name, words in ((WEBHOOK, "at the webhook"), (SLACK, "at the slack channel")):
        bodies = _bodies(name, received)
        refused = sum(map(_refusals, bodies))
        found[f"messages {words}"] = len(bodies)
        found[f"messages {words}, refused once"] = refused
        found[f"messages {words}, repeats"] = bodies.total() - len(bodies) - refused
    return found


def body(alert: ChurnAlert, channel: str) -> bytes:
    """The bytes a channel sends of an alert."""
    message = of_alert(alert, channels.PUBLIC_URL)
    return message.slack() if channel == SLACK else message.json()


def _bodies(name: str, received: Sequence[Taken]) -> Counter[bytes]:
    return Counter(taken.body for taken in received if taken.path == f"/{name}")


def _refusals(body: bytes) -> int:
    return int(channels.refused_once(body))


def _signed(taken: Taken, id_: str) -> bool:
    """By the reference library, at the moment the message names: a run may take hours."""
    try:
        moment = datetime.fromtimestamp(int(taken.headers["webhook-timestamp"]), UTC)
    except (KeyError, ValueError):
        return False
    expected = Webhook(channels.SECRET).sign(id_, moment, taken.body.decode())
    return expected in taken.headers.get("webhook-signature", "").split()
