"""The verdict that stands on an alert's episode, as it lies in Redis."""

from __future__ import annotations

import msgspec

from contracts.commands import Verdict
from contracts.scores import Moment


class StandingVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody last said an episode's alerts were worth."""

    user_id: str
    dedup_key: str
    rule: str
    """Whose episode it is."""
    verdict: Verdict
    note: str
    actor: str
    at: Moment
    """When it was given."""


_decoder = msgspec.msgpack.Decoder(StandingVerdict)


def decode_verdict(stored: bytes) -> StandingVerdict:
    """Read a stored verdict; raises msgspec.MsgspecError when it is none."""
    return _decoder.decode(stored)


def encode_verdict(verdict: StandingVerdict) -> bytes:
    """Return the verdict as msgpack."""
    return msgspec.msgpack.encode(verdict)
