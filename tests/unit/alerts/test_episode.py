"""The stored form of an episode."""

from __future__ import annotations

import pytest

from alerts.episode import VERSION, Episode, OpenEpisode, decode, encode
from contracts.errors import Misconfigured

QUIET = Episode(1, 7, 1_700_000_000_000, None, None, churned=False)
OPEN = Episode(
    3,
    2**40,
    1_700_000_000_000,
    1_700_000_000_000,
    OpenEpisode(bytes(range(16)), 1_690_000_000_000, 0.812345, 1_699_000_000_000),
    churned=False,
)


@pytest.mark.parametrize("episode", [QUIET, OPEN])
def test_what_is_stored_comes_back(episode: Episode) -> None:
    """Decoding gives what was encoded."""
    assert episode == decode(encode(episode))


def test_an_episode_is_small() -> None:
    """A user nobody worries about costs under 20 bytes, an open episode under 80."""
    assert (True, True) == (len(encode(QUIET)) < 20, len(encode(OPEN)) < 80)


@pytest.mark.parametrize("stored", [bytes([VERSION + 1]) + encode(QUIET)[1:], b""])
def test_another_version_is_refused(stored: bytes) -> None:
    """The message says which version was found and what to do."""
    with pytest.raises(Misconfigured, match="another release"):
        decode(stored)


def test_broken_bytes_are_refused() -> None:
    """A state that cannot be read is for a person, not for a guess."""
    with pytest.raises(Misconfigured, match="cannot be read"):
        decode(encode(OPEN)[:-3])
