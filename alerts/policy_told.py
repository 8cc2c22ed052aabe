"""Telling others which policy is in force: in Redis, for whoever has no policy file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from redis.asyncio import Redis

from alerts.delivery.channels_config import Channel, QuietHours
from alerts.rules import Policy, Rule, Selection
from contracts.policies import (
    ChannelInForce,
    HoldoutInForce,
    PolicyInForce,
    QuietTime,
    RuleInForce,
    StormRules,
    encode_policy,
)
from contracts.times import DAY_MS, MINUTE_MS, from_ms
from runtime import keys
from runtime.redis_errors import redis_errors

AGAIN_MS: Final = MINUTE_MS
"""How often it is told without having changed: Redis may be another one."""


class PolicyTold:
    """Leaves the policy in Redis when it is another one, and now and then."""

    def __init__(self, redis: Redis, now_ms: Callable[[], int]) -> None:
        self._redis = redis
        self._now_ms = now_ms
        self._told = ("", 0)

    async def tell(self, policy: Policy) -> None:
        """Raises StoreUnavailable."""
        now_ms = self._now_ms()
        digest, at = self._told
        if digest == policy.digest and 0 <= now_ms - at < AGAIN_MS:
            return
        with redis_errors("telling the policy in force"):
            await self._redis.set(keys.POLICY, encode_policy(in_force(policy, now_ms)))
        self._told = (policy.digest, now_ms)


def in_force(policy: Policy, told_at_ms: int) -> PolicyInForce:
    """The policy without anything secret: no address, no secret, no name of a variable."""
    return PolicyInForce(
        digest=policy.digest,
        told_at=from_ms(told_at_ms),
        rules=tuple(map(_rule, policy.rules)),
        holdout=HoldoutInForce(share=policy.holdout.share, epoch=policy.holdout.epoch),
        channels=tuple(map(_channel, policy.channels)),
        storm=StormRules(
            share=policy.storm.share,
            window_minutes=policy.storm.window_minutes,
            least_users=policy.storm.least_users,
            on_clear=policy.storm.on_clear,
            channels=policy.storm.channels,
        ),
    )


def _rule(rule: Rule) -> RuleInForce:
    return RuleInForce(
        name=rule.name,
        threshold=rule.threshold,
        top_a_day=rule.top,
        resolve_below=rule.resolve_below,
        escalation_step=rule.escalation_step,
        cooldown_days=rule.cooldown_ms / DAY_MS,
        least_active_days=rule.least_active_days,
        most_active_days=rule.most_active_days,
        for_minutes=rule.for_ms / MINUTE_MS,
        severity=rule.severity,
        escalated_severity=rule.escalated_severity,
        where=tuple(map(_condition, rule.where)),
        channels=rule.channels,
        max_per_hour=rule.max_per_hour,
        quiet_hours=_quiet(rule.quiet_hours),
        words=rule.words,
    )


def _condition(selection: Selection) -> str:
    if selection.at_least is not None:
        return f"{selection.attribute} at least {selection.at_least:g}"
    return f"{selection.attribute} {' or '.join(selection.among)}"


def _channel(channel: Channel) -> ChannelInForce:
    return ChannelInForce(
        name=channel.name,
        kind=channel.kind,
        kinds=channel.kinds,
        rate_per_minute=channel.rate_per_minute,
        max_per_hour=channel.max_per_hour,
        quiet_hours=_quiet(channel.quiet_hours),
        allow_private=channel.allow_private,
        allow_demo_model=channel.allow_demo_model,
    )


def _quiet(quiet: QuietHours | None) -> QuietTime | None:
    if quiet is None:
        return None
    return QuietTime(
        begins=quiet.start,
        ends=quiet.until,
        zone=quiet.zone,
        days=quiet.days,
        critical_passes=quiet.critical_passes,
    )
