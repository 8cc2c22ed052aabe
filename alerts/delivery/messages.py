"""What people and machines are told, made from an alert, a digest or an incident.

Nothing in a message is secret: it holds what `churn-alert` holds, and a link. What comes from
outside (user ids, attributes, names) is cut to a line and escaped for where it goes.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

import msgspec

from alerts.delivery.rows import Notice
from contracts.alerts import EVENT_ACTIONS, ChurnAlert, decode_alert
from contracts.deliveries import Row
from contracts.scores import Concept
from contracts.times import DAY_MS, HOUR_MS, from_ms, to_ms

LONGEST: Final = 200
"""Characters of anything that comes from outside."""

MACHINE_SHOWN: Final = 200
"""Alerts named in the data of a digest, so that a body stays below some 40 kB."""

HELP: Final[dict[Concept, str]] = {
    "recency": "Write to them personally, about what they used last; ask what kept them away.",
    "frequency": "Offer a reason to come back on a fixed day: a reminder or an appointment.",
    "trend": "Ask what has changed; whoever comes less and less has often met an obstacle.",
    "tenure": "Help with the first steps: newcomers leave when they have not got anywhere yet.",
    "money": "Look at what they pay for and do not use, and offer what fits better.",
    "context": "Compare with others like them: it may be the plan, the device or the place.",
}
"""What usually helps, by the strongest reason. Rules of thumb, not measured on your users."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message in the forms channels want."""

    message_id: str
    type: str
    at: datetime
    title: str
    lines: tuple[str, ...]
    link: str
    data: dict[str, Any]

    @property
    def text(self) -> str:
        """Plain text, without the title."""
        return "\n".join([*self.lines, *([self.link] if self.link else [])])

    @property
    def html(self) -> str:
        """The same as HTML, everything escaped."""
        lines = "".join(f"<p>{html.escape(line)}</p>" for line in self.lines)
        if not self.link:
            return lines
        address = html.escape(self.link, quote=True)
        return f'{lines}<p><a href="{address}">{address}</a></p>'

    def json(self) -> bytes:
        """The body of a webhook: type, timestamp and data, as Standard Webhooks has them.

        The same message always has the same body, so repeats carry the same bytes.
        """
        data = self.data | {"title": self.title, "text": self.text, "url": self.link or None}
        return msgspec.json.encode(
            {"type": self.type, "timestamp": self.at.isoformat(), "data": data}
        )

    def slack(self) -> bytes:
        """The body of a Slack-shaped incoming webhook."""
        title, lines = _mrkdwn(self.title), [_mrkdwn(line) for line in self.lines]
        text = "\n".join([f"*{title}*", *lines])
        if self.link:
            text += f"\n<{_mrkdwn(self.link)}|Look at the user>"
        return msgspec.json.encode({"text": text})


def compose(row: Row, public_url: str) -> Message:
    """The message of a row; raises msgspec.MsgspecError for content of another release."""
    if row.kind == "alert":
        return of_alert(decode_alert(row.content), public_url)
    notice = msgspec.json.decode(row.content, type=Notice)
    return Message(
        message_id=row.message_id,
        type=notice.type,
        at=from_ms(notice.at),
        title=_line(notice.title),
        lines=tuple(_line(line, longest=500) for line in notice.lines),
        link="",
        data=dict(notice.data),
    )


def of_alert(alert: ChurnAlert, public_url: str) -> Message:
    """The message of an alert. public_url: where people reach the gateway; empty for no link."""
    user = _line(alert.user_id)
    link = user_link(alert.user_id, public_url)
    return Message(
        message_id=alert.alert_id,
        type=f"churn.alert.{alert.kind}",
        at=alert.occurred_at,
        title=_title(alert, user),
        lines=tuple(_lines(alert)),
        link=link,
        data=msgspec.to_builtins(alert) | {"event_action": EVENT_ACTIONS[alert.kind]},
    )


def user_link(user_id: str, public_url: str) -> str:
    """The user's page of the dashboard, empty when nobody said where the gateway is reached."""
    if not public_url:
        return ""
    try:
        # The dashboard reads what looks like JSON as such: "42" in quotes stays a text.
        msgspec.json.decode(user_id)
        written = msgspec.json.encode(user_id).decode()
    except (msgspec.MsgspecError, UnicodeError):
        written = user_id
    return f"{public_url.rstrip('/')}/app/user?id={quote(written, safe='')}"


def _title(alert: ChurnAlert, user: str) -> str:
    match alert.kind:
        case "opened":
            return f"{user} is slipping away: {_percent(alert.churn_probability)} risk"
        case "escalated":
            return f"{user} slips further: {_percent(alert.churn_probability)} risk"
        case "acknowledged":
            return f"Somebody looks after {user}"
        case "snoozed":
            return f"{user} was put off"
        case "resolved":
            return f"{user} is back" if alert.trigger == "activity" else f"{user} is safe again"
        case "churned":
            return f"{user} has cancelled"


def _lines(alert: ChurnAlert) -> list[str]:
    lines = [_line(alert.words)] if alert.words else []
    if alert.actor:
        lines.append(f"By {_line(alert.actor)}.")
    if alert.kind == "snoozed" and alert.snoozed_until is not None:
        lines.append(f"Until {_moment(alert.snoozed_until)}.")
    if alert.kind in ("opened", "escalated", "resolved"):
        lines.append(_change(alert))
    if alert.kind in ("opened", "escalated"):
        if alert.last_seen_at is not None:
            away = to_ms(alert.occurred_at) - to_ms(alert.last_seen_at)
            lines.append(f"Last seen {_moment(alert.last_seen_at)}, {_duration(away)} before this.")
        raising = [reason for reason in alert.reasons if reason.contribution > 0]
        if raising:
            lines.append("Why:")
            lines += [f"- {_line(reason.text)}" for reason in raising]
            lines.append(f"What usually helps: {HELP[raising[0].concept]}")
    known = [
        f"{name} {_line(str(value))}"
        for name, value in [
            ("plan", alert.attributes.plan),
            ("location", alert.attributes.location),
            ("device", alert.attributes.device_type),
        ]
        if value
    ]
    if known:
        lines.append(f"Known: {', '.join(known)}.")
    lines.append(f"Rule {_line(alert.rule)}, {alert.severity}, model {_line(alert.model_version)}.")
    return lines


def _change(alert: ChurnAlert) -> str:
    within = f"within {alert.horizon_days} days"
    risk = f"Risk of leaving {within}: {_percent(alert.churn_probability)}"
    if alert.previous_probability is None:
        return f"{risk}."
    return f"{risk}, before {_percent(alert.previous_probability)}."


def digest_notice(rows: Sequence[Row], at_ms: int, public_url: str, *, shown: int = 20) -> Notice:
    """The digest of alerts that were too many to be told one by one."""
    alerts = sorted(
        (decode_alert(row.content) for row in rows),
        key=lambda alert: (-alert.churn_probability, alert.user_id),
    )
    lines = []
    for alert in alerts[:shown]:
        reasons = [reason.text for reason in alert.reasons if reason.contribution > 0][:1]
        words = [f"{_line(alert.user_id)}: {_percent(alert.churn_probability)}"]
        words += [_line(reason) for reason in reasons]
        words += [link] if (link := user_link(alert.user_id, public_url)) else []
        lines.append(" · ".join(words))
    if len(alerts) > shown:
        lines.append(f"and {len(alerts) - shown} more")
    return Notice(
        type="churn.alert.digest",
        title=f"{len(alerts)} more {'user slips' if len(alerts) == 1 else 'users slip'} away",
        lines=tuple(lines),
        at=at_ms,
        data={
            "count": len(alerts),
            "alerts": [
                {
                    "alert_id": alert.alert_id,
                    "dedup_key": alert.dedup_key,
                    "user_id": alert.user_id,
                    "churn_probability": alert.churn_probability,
                }
                for alert in alerts[:MACHINE_SHOWN]
            ],
        },
    )


def storm_notice(*, crossed: int, active: int, minutes: int, cause: str, at_ms: int) -> Notice:
    """The incident that stands for many alerts."""
    share = crossed / active if active else 1.0
    return Notice(
        type="churn.storm.begun",
        title=f"Alert storm: {crossed} of {active} users crossed within {minutes} minutes",
        lines=(
            f"That is {_percent(share)} of all users with a risk. Single alerts are held.",
            f"Likely cause: {cause}",
            "Decide with `ebbtide alerts storm release` or `ebbtide alerts storm discard`.",
        ),
        at=at_ms,
        data={"crossed": crossed, "active": active, "cause": cause},
    )


def storm_over_notice(*, held: int, outcome: str, at_ms: int) -> Notice:
    """The end of an incident. outcome: released or discarded."""
    return Notice(
        type="churn.storm.over",
        title="Alert storm over",
        lines=(f"{held} held {'alert was' if held == 1 else 'alerts were'} {outcome}.",),
        at=at_ms,
        data={"held": held, "outcome": outcome},
    )


def _line(text: str, *, longest: int = LONGEST) -> str:
    """Text of others as one line: no control characters, not too long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def _mrkdwn(text: str) -> str:
    """As Slack asks: these three characters make its links, mentions and `<!channel>`."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _percent(probability: float) -> str:
    return f"{probability:.0%}"


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _duration(ms: int) -> str:
    if ms >= 2 * DAY_MS:
        return f"{ms // DAY_MS} days"
    hours = ms // HOUR_MS
    return f"{hours} hour{'' if hours == 1 else 's'}"
