"""A record as it is stored: its zeros are left out.

Most of a record's words of 16 bits are zero for most users: high halves of counts and times, days
of the ring without a visit, event types that never came. A stored record is

    word 0 (the version is its first byte) | a bit for each other word | the words that are not zero

and comes back to the byte. The smallest has 34 bytes, the largest 32 more than a record.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from contracts.record import RECORD

_WORD: Final = np.dtype("<u2")
_WORDS: Final = RECORD.itemsize // _WORD.itemsize
_BITS: Final = -(-(_WORDS - 1) // 16)
"""Words the bits take, the unused ones at their end zero."""


def pack(records: np.ndarray) -> list[bytes]:
    """Return the stored form of each of (n,) RECORD."""
    words = np.ascontiguousarray(records).view(_WORD).reshape(len(records), _WORDS)
    there = words[:, 1:] != 0
    bits = np.zeros((len(words), 2 * _BITS), np.uint8)
    found = np.packbits(there, axis=1, bitorder="little")
    bits[:, : found.shape[1]] = found
    everything = np.concatenate([words[:, :1], bits.view(_WORD), words[:, 1:]], axis=1)
    stored = np.ones(everything.shape, np.bool_)
    stored[:, 1 + _BITS :] = there
    packed = everything[stored].tobytes()
    ends = (_WORD.itemsize * stored.sum(axis=1)).cumsum().tolist()
    return [packed[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def unpack(values: Sequence[bytes]) -> np.ndarray:
    """(n,) RECORD, writable, from their stored forms; raises ValueError where one is none."""
    lengths = np.fromiter(map(len, values), np.intp, len(values))
    if (lengths % _WORD.itemsize).any() or (lengths < _WORD.itemsize * (1 + _BITS)).any():
        raise ValueError("a stored record of an impossible length")
    stored = np.frombuffer(b"".join(values), _WORD)
    starts = np.cumsum(lengths) // _WORD.itemsize - lengths // _WORD.itemsize
    of_bits = starts[:, None] + np.arange(1, 1 + _BITS)
    bits = np.unpackbits(stored[of_bits].view(np.uint8), axis=1, bitorder="little")
    there = np.ones((len(values), 1 + 16 * _BITS), np.bool_)
    there[:, 1:] = bits
    counts = there.sum(axis=1) + _BITS
    if there[:, _WORDS:].any() or (counts * _WORD.itemsize != lengths).any():
        raise ValueError("a stored record that says other words than it has")
    is_word = np.ones(len(stored), np.bool_)
    is_word[of_bits] = False
    words = np.zeros((len(values), _WORDS), _WORD)
    words[there[:, :_WORDS]] = stored[is_word]
    return words.view(RECORD).reshape(len(values))
