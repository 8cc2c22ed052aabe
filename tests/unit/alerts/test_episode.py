"""The stored form of an episode."""

from __future__ import annotations

import msgspec
import pytest

from alerts.episode import VERSION, Episode, OpenEpisode, Pending, Said, decode, encode
from contracts.errors import Misconfigured
from contracts.scores import Crossing, Reason
from tests.churn_scores import churn_score

SCORE = msgspec.structs.replace(
    churn_score(0.8),
    crossings=tuple(Crossing(level / 10, None) for level in range(1, 10)),
    reasons=(Reason("recency", 1.5, "no visit for 2 days; usually every day", 2.0, 1.0),),
)
QUIET = Episode(1, 7, 1_700_000_000_000, None, None, churned=False)
PENDING = msgspec.structs.replace(
    QUIET, pending=(Pending("default", 1_700_000_000_000),), said=Said.of(SCORE)
)
OPEN = Episode(
    3,
    2**40,
    1_700_000_000_000,
    1_700_000_000_000,
    OpenEpisode(
        bytes(range(16)),
        1_690_000_000_000,
        0.812345,
        1_699_000_000_000,
        "default",
        "critical",
        "control",
        acknowledged_at=1_699_000_000_000,
        snoozed_until=1_699_500_000_000,
        commanded_at=1_699_000_000_000,
    ),
    churned=False,
    said=Said.of(SCORE),
)


@pytest.mark.parametrize("episode", [QUIET, PENDING, OPEN])
def test_what_is_stored_comes_back(episode: Episode) -> None:
    """Decoding gives what was encoded."""
    assert episode == decode(encode(episode))


def test_an_episode_is_small() -> None:
    """A user nobody worries about costs under 24 bytes, an open episode with its score 450."""
    assert (True, True) == (len(encode(QUIET)) < 24, len(encode(OPEN)) < 450)


def test_the_kept_score_says_what_the_score_said() -> None:
    """All but its id, the cancellation and the times of its crossings, which no alert tells."""
    kept = Said.of(SCORE).score("ada")

    assert msgspec.structs.replace(SCORE, score_id="") == kept


def test_version_1_is_read() -> None:
    """An episode stored by the release before goes on, without what that release did not know."""
    stored = bytes([1]) + msgspec.msgpack.encode(
        [3, 9, 1_000, 900, [bytes(16), 900, 0.8, None], False]
    )

    episode = decode(stored)

    assert Episode(3, 9, 1_000, 900, OpenEpisode(bytes(16), 900, 0.8, None), False) == episode
    assert episode == decode(encode(episode))


@pytest.mark.parametrize("stored", [bytes([VERSION + 1]) + encode(QUIET)[1:], b""])
def test_another_version_is_refused(stored: bytes) -> None:
    """The message says which version was found and what to do."""
    with pytest.raises(Misconfigured, match="another release"):
        decode(stored)


def test_broken_bytes_are_refused() -> None:
    """A state that cannot be read is for a person, not for a guess."""
    with pytest.raises(Misconfigured, match="cannot be read"):
        decode(encode(OPEN)[:-3])
