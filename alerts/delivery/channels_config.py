"""What a policy file says of delivery: channels, quiet hours, the storm guard.

Addresses and secrets may be, or contain, `${NAME}`: they are taken from the environment when they
are used, so that a policy file can be checked and shared without them. They are never printed.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import datetime, time, timedelta
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from contracts.alerts import AlertKind
from contracts.errors import Misconfigured
from contracts.times import from_ms, to_ms

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: Final[tuple[Weekday, ...]] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

FOR_PEOPLE: Final[tuple[AlertKind, ...]] = ("opened", "escalated", "resolved", "churned")
FOR_MACHINES: Final[tuple[AlertKind, ...]] = (*FOR_PEOPLE, "acknowledged", "snoozed")

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - how secrets begin, none itself
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")


class _Model(BaseModel):
    # Lists of a YAML file become tuples; otherwise nothing is converted that was not meant.
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True
    )


class QuietHours(_Model):
    """A time of day, every day or on some, during which nobody is told anything."""

    start: Annotated[str, Field(alias="from")]
    """HH:MM on the wall of `zone`."""
    until: str
    """HH:MM; earlier than `from` means the next morning, the same means all day long."""
    zone: str
    """IANA name, such as Europe/Oslo."""
    days: tuple[Weekday, ...] = WEEKDAYS
    """The days on which it begins."""
    critical_passes: bool = False
    """Whether alerts of severity critical are told all the same."""

    @field_validator("start", "until")
    @classmethod
    def _is_a_time(cls, value: str) -> str:
        if not _CLOCK.fullmatch(value):
            raise ValueError('must be a time of day such as "22:00", in quotes')
        return value

    @field_validator("zone")
    @classmethod
    def _is_a_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"{value!r} is no time zone; write one such as Europe/Oslo") from None
        return value

    def ends(self, now_ms: int) -> int | None:
        """When the quiet time `now_ms` lies in is over, epoch ms; None outside of it.

        Clocks that are put forward or back make that night shorter or longer: what counts is what
        the clock on the wall says.
        """
        zone = ZoneInfo(self.zone)
        now = from_ms(now_ms).astimezone(zone)
        begins, ends = _time(self.start), _time(self.until)
        for day in (now.date() - timedelta(days=1), now.date()):
            if WEEKDAYS[day.weekday()] not in self.days:
                continue
            last = day if begins < ends else day + timedelta(days=1)
            first_ms = to_ms(datetime.combine(day, begins, zone))
            end_ms = to_ms(datetime.combine(last, ends, zone))
            if first_ms <= now_ms < end_ms:
                return end_ms
        return None


def _time(text: str) -> time:
    return time(int(text[:2]), int(text[3:]))


class Storm(_Model):
    """When so many alerts at once are rather our mistake than everybody's leaving."""

    share: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Of the users with a risk: this share opening an episode within the window is a storm."""
    window_minutes: Annotated[int, Field(ge=1, le=7 * 24 * 60)] = 60
    least_users: Annotated[int, Field(ge=1)] = 20
    """Fewer are never a storm, whatever share they are."""
    on_clear: Literal["release", "discard"] = "release"
    """What becomes of the held alerts when it clears and nobody has decided."""
    channels: tuple[str, ...] | None = None
    """Who is told of the incident; by default every channel."""


class _Channel(_Model):
    """What all kinds of channels have."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,47}$")]
    timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 15.0
    """For one attempt, everything included."""
    rate_per_minute: Annotated[int, Field(ge=1, le=6000)] = 60
    """Attempts; what comes faster waits its turn."""
    max_per_hour: Annotated[int, Field(ge=1)] | None = None
    """Alerts told one by one within an hour; the others come as one digest."""
    quiet_hours: QuietHours | None = None
    allow_private: bool = False
    """Whether it may lie at a private or loopback address."""
    allow_demo_model: bool = False
    """Whether alerts of the demo model, which has learned from a simulator, are told here."""

    @property
    def address(self) -> SecretStr:
        raise NotImplementedError


class WebhookChannel(_Channel):
    """An HTTP endpoint of your own, signed as standardwebhooks.com says."""

    kind: Literal["webhook"]
    url: SecretStr
    secrets: Annotated[tuple[SecretStr, ...], Field(min_length=1, max_length=5)]
    """`whsec_` and base64 of 24 to 64 bytes. Several: every one signs, so that receivers rotate."""
    kinds: tuple[AlertKind, ...] = FOR_MACHINES

    @field_validator("secrets")
    @classmethod
    def _are_secrets(cls, values: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for value in values:
            if not _REFERENCE.search(value.get_secret_value()):
                secret_bytes(value.get_secret_value())
        return values

    @field_validator("url")
    @classmethod
    def _is_http(cls, value: SecretStr) -> SecretStr:
        return _http(value)

    @property
    def address(self) -> SecretStr:
        return self.url


class SlackChannel(_Channel):
    """An incoming webhook of Slack, or of what takes Slack's messages (Mattermost, Rocket.Chat)."""

    kind: Literal["slack"]
    url: SecretStr
    kinds: tuple[AlertKind, ...] = FOR_PEOPLE

    @field_validator("url")
    @classmethod
    def _is_http(cls, value: SecretStr) -> SecretStr:
        return _http(value)

    @property
    def address(self) -> SecretStr:
        return self.url


class AppriseChannel(_Channel):
    """Whatever Apprise speaks: `mailto://`, `msteams://`, `tgram://` and a hundred others."""

    kind: Literal["apprise"]
    url: SecretStr
    kinds: tuple[AlertKind, ...] = FOR_PEOPLE

    @property
    def address(self) -> SecretStr:
        return self.url


Channel = Annotated[WebhookChannel | SlackChannel | AppriseChannel, Field(discriminator="kind")]


class Delivery(_Model):
    """The part of a policy file that says how alerts reach people."""

    channels: tuple[Channel, ...] = ()
    storm: Storm = Storm()

    @model_validator(mode="after")
    def _names_are_unique(self) -> Delivery:
        names = [channel.name for channel in self.channels]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two channels are called {name!r}; rename one of them")
        for name in self.storm.channels or ():
            if name not in names:
                raise ValueError(f"storm names the channel {name!r}, which is not there")
        return self


def resolved(text: SecretStr, environment: Mapping[str, str]) -> str:
    """The text with every `${NAME}` replaced; raises Misconfigured, naming what is not set."""

    def value(match: re.Match[str]) -> str:
        found = environment.get(match[1])
        if not found:
            raise Misconfigured(
                f"the environment variable {match[1]}, which the policy file refers to, is not set"
            )
        return found

    return _REFERENCE.sub(value, text.get_secret_value())


def secret_bytes(secret: str) -> bytes:
    """The key of a `whsec_` secret; raises ValueError without repeating it."""
    try:
        if not secret.startswith(SECRET_PREFIX):
            raise ValueError
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (ValueError, binascii.Error):
        raise ValueError("a webhook secret must be whsec_ and base64, or ${NAME}") from None
    if not 24 <= len(key) <= 64:
        raise ValueError("a webhook secret must hold 24 to 64 bytes")
    return key


def _http(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if _REFERENCE.match(text):
        return value
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise ValueError("must be an http or https URL with a host, or ${NAME}")
    return value
