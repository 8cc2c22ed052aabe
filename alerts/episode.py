"""What the policy remembers of one user, and how it is stored."""

from __future__ import annotations

from typing import Final

import msgspec

from contracts.errors import Misconfigured

VERSION: Final = 1


class OpenEpisode(msgspec.Struct, frozen=True, array_like=True):
    """An episode between its opening and its end."""

    dedup_key: bytes
    opened_at: int
    """Epoch ms."""
    probability: float
    """At the episode's last alert."""
    escalated_at: int | None
    """When it last escalated, epoch ms."""


class Episode(msgspec.Struct, frozen=True, array_like=True):
    """A user's last score and last alert, and the episode that is open, if any."""

    log: int
    offset: int
    scored_at: int
    """(log, offset, scored_at in epoch ms) is the order of the last score seen."""
    alerted_at: int | None
    """When the user's last alert occurred, epoch ms."""
    open: OpenEpisode | None
    churned: bool
    """The cancellation was told; cleared by activity."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Episode)


def encode(episode: Episode) -> bytes:
    """Return a version byte and the fields as msgpack: 16 bytes, 77 with an open episode."""
    return bytes([VERSION]) + _encoder.encode(episode)


def decode(stored: bytes) -> Episode:
    """Read what `encode` wrote; raises Misconfigured for any other version."""
    version = stored[0] if stored else None
    if version != VERSION:
        raise Misconfigured(
            f"Redis holds an alert episode of version {version}, this release reads {VERSION}: "
            "it was written by another release; run that one or a newer one"
        )
    try:
        return _decoder.decode(memoryview(stored)[1:])
    except msgspec.MsgspecError as error:
        raise Misconfigured(
            f"Redis holds an alert episode that cannot be read ({error}): restore Redis from a "
            "copy, or delete the key to forget the episode"
        ) from error
