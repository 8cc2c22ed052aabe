"""An alert policy in plain words, for a person who has to agree to it."""

from __future__ import annotations

from collections.abc import Iterator

from alerts.rules import Policy, Rule, Selection
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS


def said(policy: Policy) -> Iterator[str]:
    """The policy line by line: what it does with whom, in the order in which rules are asked."""
    yield f"policy {policy.digest}: {_count(len(policy.rules), 'rule')}, the first that fits speaks"
    for rule in policy.rules:
        yield ""
        yield f"{rule.name} ({rule.severity})"
        yield from (f"  {line}" for line in _rule(rule))
    yield ""
    for channel in policy.channels:
        yield f"channel {channel.name}: {channel.kind}"
    if not policy.channels:
        yield "no channels: alerts stand on churn-alert and the dashboard, and nobody is sent any"
    holdout = policy.holdout
    if holdout.share:
        yield (
            f"{holdout.share:.0%} of users are held out (experiment {holdout.epoch!r}): alerts "
            "about them are recorded and sent to nobody"
        )
    else:
        yield "nobody is held out, so it will not be known what alerts do"


def _rule(rule: Rule) -> Iterator[str]:
    yield f"watches {_whom(rule)}"
    if rule.top is not None:
        opens = (
            f"opens for the about {rule.top:g} a day who are most at risk (on the first day, from "
            f"{_risk(rule)})"
        )
    else:
        opens = f"opens at {_risk(rule)}"
    if rule.for_ms:
        opens += f" that has lasted {_time(rule.for_ms)}"
    yield opens + ", once the user is away for a day and for as long as they usually are"
    yield (
        f"escalates when the risk has risen by another {rule.escalation_step:.0%}"
        + (f", then as {rule.escalated_severity}" if rule.escalated_severity else "")
    )
    below = "five sevenths of that" if rule.resolve_below is None else f"{rule.resolve_below:.0%}"
    yield f"resolves when the user comes back, or below a risk of {below}"
    yield (
        f"says nothing of the same user for {_time(rule.cooldown_ms)} after an alert"
        + (", and looks again then" if rule.looks_again else "")
    )
    if rule.channels:
        yield f"tells {', '.join(rule.channels)}"
    if rule.quiet_hours is not None:
        quiet = rule.quiet_hours
        yield (
            f"keeps quiet from {quiet.start} to {quiet.until} ({quiet.zone})"
            + (f" on {', '.join(quiet.days)}" if len(quiet.days) < 7 else "")
            + (", unless critical" if quiet.critical_passes else "")
        )
    if rule.max_per_hour is not None:
        yield f"tells at most {rule.max_per_hour} an hour, the rest as a digest"
    if rule.words:
        yield f'adds: "{rule.words}"'


def _risk(rule: Rule) -> str:
    if rule.threshold is None:
        return "the risk that the model was trained to speak at"
    return f"a risk of {rule.threshold:.0%}"


def _whom(rule: Rule) -> str:
    days = f"users with {rule.least_active_days} or more active days"
    if rule.most_active_days is not None:
        days = (
            f"newcomers: users with {rule.least_active_days} to {rule.most_active_days} active days"
        )
    return " and ".join([days, *map(_selection, rule.where)])


def _selection(selection: Selection) -> str:
    what = selection.attribute.replace("_", " ")
    if selection.at_least is not None:
        return f"{what} of at least {selection.at_least:g}"
    return f"{what} {' or '.join(selection.among)}"


def _time(ms: int) -> str:
    for unit, name in ((DAY_MS, "day"), (HOUR_MS, "hour"), (MINUTE_MS, "minute")):
        if ms >= unit and ms % unit == 0:
            return _count(ms // unit, name)
    return f"{ms / MINUTE_MS:g} minutes"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
