"""What may be said of channels, quiet hours and storms, and what may not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from alerts.delivery.channels_config import Delivery, QuietHours, resolved, secret_bytes
from contracts.errors import Misconfigured
from contracts.times import DAY_MS, from_ms, to_ms

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def delivery(**channel: Any) -> Delivery:
    return Delivery.model_validate({"channels": [{"name": "crm", **channel}]})


def test_a_channel_shows_neither_address_nor_secret() -> None:
    """Logs and errors may hold the model: nothing secret is in its words."""
    said = delivery(kind="webhook", url="https://a.example/token-1", secrets=[SECRET])

    assert "token-1" not in repr(said) + str(said) + said.model_dump_json()
    assert SECRET not in repr(said) + str(said) + said.model_dump_json()


@pytest.mark.parametrize(
    ("channel", "words"),
    [
        ({"kind": "pigeon", "url": "https://a.example"}, "pigeon"),
        ({"kind": "slack", "url": "ftp://a.example/s3cr3t"}, "http"),
        ({"kind": "slack", "url": "https://a.example", "quiet": 1}, "quiet"),
        ({"kind": "webhook", "url": "https://a.example", "secrets": []}, "secrets"),
        ({"kind": "webhook", "url": "https://a.example", "secrets": ["s3cr3t"]}, "whsec_"),
        ({"kind": "webhook", "url": "https://a.example", "secrets": ["whsec_c2hvcnQ="]}, "24"),
        ({"kind": "apprise", "url": "json://x", "rate_per_minute": 0}, "rate_per_minute"),
    ],
)
def test_what_is_wrong_is_named_and_no_secret_with_it(channel: Any, words: str) -> None:
    """A mistake in the file is told without repeating what may be secret."""
    with pytest.raises(ValidationError) as refused:
        delivery(**channel)

    assert words in str(refused.value)
    assert "s3cr3t" not in str(refused.value)


def test_two_channels_of_one_name_are_refused() -> None:
    """Deliveries are named by their channel."""
    one = {"kind": "slack", "name": "a", "url": "https://a.example"}
    with pytest.raises(ValidationError, match="two channels"):
        Delivery.model_validate({"channels": [one, one]})


def test_a_reference_is_taken_from_the_environment_when_it_is_used() -> None:
    """A policy file can be checked where its secrets are not."""
    said = delivery(kind="webhook", url="https://${HOST}/x", secrets=["${KEY}"])

    assert "https://h.example/x" == resolved(said.channels[0].url, {"HOST": "h.example"})
    with pytest.raises(Misconfigured, match="HOST"):
        resolved(said.channels[0].url, {})
    assert 24 == len(secret_bytes(resolved(SecretStr("${KEY}"), {"KEY": SECRET})))


def hours(**more: Any) -> QuietHours:
    said = {"from": "22:00", "until": "07:00", "zone": "Europe/Oslo"} | more
    return QuietHours.model_validate(said)


def oslo(text: str) -> int:
    return to_ms(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Oslo")))


@pytest.mark.parametrize(
    ("now", "ends"),
    [
        ("2026-03-10T21:59", None),
        ("2026-03-10T22:00", "2026-03-11T07:00"),
        ("2026-03-11T06:59", "2026-03-11T07:00"),
        ("2026-03-11T07:00", None),
        ("2026-03-28T23:00", "2026-03-29T07:00"),  # the clocks go forward that night
        ("2026-10-25T05:00", "2026-10-25T07:00"),  # and back
    ],
)
def test_a_night_ends_in_the_morning_of_the_zone(now: str, ends: str | None) -> None:
    """Quiet hours over midnight end when the clock on the wall says so, whatever the season."""
    assert (ends and oslo(ends)) == hours().ends(oslo(now))


def test_quiet_hours_begin_on_their_days_only() -> None:
    """A Friday night reaches into Saturday; Saturday night is not quiet."""
    friday = hours(days=["fri"])

    assert oslo("2026-03-14T07:00") == friday.ends(oslo("2026-03-14T03:00"))
    assert friday.ends(oslo("2026-03-14T23:00")) is None
    assert friday.ends(oslo("2026-03-13T03:00")) is None


@given(
    st.integers(0, 1439), st.integers(0, 1439), st.integers(0, 400 * DAY_MS),
    st.sampled_from(["Europe/Oslo", "America/St_Johns", "Asia/Kolkata", "Pacific/Auckland", "UTC"]),
)  # fmt: skip
def test_quiet_or_not_is_what_the_wall_clock_says(
    begin: int, end: int, later: int, zone: str
) -> None:
    """Whether a moment is quiet follows from the time of day; the end lies ahead and is not."""

    def words(minute: int) -> str:
        return f"{minute // 60:02d}:{minute % 60:02d}"

    quiet = hours(**{"from": words(begin), "until": words(end), "zone": zone})
    now_ms = to_ms(datetime(2026, 1, 1, tzinfo=UTC)) + later
    local = from_ms(now_ms).astimezone(ZoneInfo(zone))
    changes = {
        (local + timedelta(hours=h)).astimezone(UTC).astimezone(ZoneInfo(zone)).utcoffset()
        for h in range(-30, 31)
    }
    minute = local.hour * 60 + local.minute
    inside = begin <= minute < end if begin < end else minute >= begin or minute < end

    ends = quiet.ends(now_ms)

    if len(changes) == 1:  # nights of changing clocks are in the table above
        assert inside == (ends is not None)
    assert ends is None or ends > now_ms
    assert ends is None or begin == end or quiet.ends(ends) is None or len(changes) > 1


@pytest.mark.parametrize("more", [{"from": "7"}, {"until": "24:00"}, {"zone": "Oslo/Europe"}])
def test_times_and_zones_that_are_none_are_refused(more: Any) -> None:
    """A misspelt zone or time would be found out at night."""
    with pytest.raises(ValidationError):
        hours(**more)
