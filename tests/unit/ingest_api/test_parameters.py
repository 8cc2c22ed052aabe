"""What is sent in an address, where it is not what it looks like."""

from __future__ import annotations

import pytest

from tests.unit.ingest_api.stand import Stand


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/alerts?user=ada&user=bob", "user"),
        ("/alerts?until=0.5", "until"),
        ("/alerts/verdicts?user=ada&user=bob", "user"),
        ("/deliveries?limit=1&limit=2", "limit"),
        ("/users?order=risk&order=value", "order"),
        ("/users.csv?search=a&search=b", "search"),
    ],
)
async def test_what_would_be_passed_over_or_guessed_is_refused_by_name(
    gateway: Stand, path: str, field: str
) -> None:
    """Of two users one would be left out; a number may be seconds or milliseconds."""
    answer = await gateway.http.get(path)

    assert (422, field) == (answer.status_code, answer.json()["errors"][0]["field"])


async def test_lists_may_be_sent_piece_by_piece(gateway: Stand) -> None:
    """Several kinds of alerts, as forms send them."""
    answer = await gateway.http.get("/alerts?kind=opened&kind=resolved")

    assert 200 == answer.status_code


@pytest.mark.parametrize("part", ["alerts", "events", "history"])
async def test_asking_to_erase_a_part_of_a_user_erases_nobody(gateway: Stand, part: str) -> None:
    """Though somebody might be called `ada/events`: their slash is sent as %2F."""
    refused = await gateway.http.delete(f"/users/ada/{part}")
    taken = await gateway.http.delete(f"/users/ada%2F{part}")
    named = await gateway.http.delete(f"/users/{part}")

    assert (405, 202, 202) == (refused.status_code, taken.status_code, named.status_code)
    assert [f"ada/{part}", part] == [message.key.decode() for message in gateway.log.messages]
