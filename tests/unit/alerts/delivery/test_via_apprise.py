"""What is asked of Apprise's services, and what is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from alerts.delivery import via_apprise
from alerts.delivery.messages import of_alert
from alerts.delivery.outcome import Delivered, Later, Never, Outcome
from tests.churn_alerts import churn_alert


class Service:
    """A service as Apprise makes them."""

    templates = ("{schema}://{host}/{token}",)
    host = "chat.example"
    service_name = "Chat"


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("mailto://me:pw@mail.example/?to=a@b.example", ["mail.example"]),
        (
            "mailto://me:pw@b.example?smtp=smtp.c.example&to=x@y.example",
            ["b.example", "smtp.c.example"],
        ),
        ("json://chat.example/x", ["chat.example"]),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ", []),
    ],
)
def test_only_hosts_are_resolved(url: str, hosts: list[str]) -> None:
    """Where a URL has no host, what Apprise keeps there is a token: no resolver may see it."""
    assert hosts == via_apprise.hosts(via_apprise._service(url, 5.0))


def test_redirects_are_not_followed() -> None:
    """A checked host could send us anywhere."""
    assert not via_apprise._service("json://chat.example/x", 5.0).redirects


async def sent(
    monkeypatch: pytest.MonkeyPatch, address: str, *, accepted: bool = True, url: str = "x://"
) -> tuple[Outcome, list[Any]]:
    told: list[Any] = []

    def notify(service: Any, message: Any) -> bool:
        told.append(message)
        return accepted

    async def resolving(host: str, port: int) -> Sequence[str]:
        return [address]

    monkeypatch.setattr(via_apprise, "_notify", notify)
    if url == "x://":
        monkeypatch.setattr(via_apprise, "_service", lambda *_: Service())
    message = of_alert(churn_alert(), "")
    outcome = await via_apprise.send(
        url, message, timeout_seconds=5, allow_private=False, resolving=resolving
    )
    return outcome, told


async def test_a_service_inside_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard stands before Apprise, too."""
    outcome, told = await sent(monkeypatch, "10.0.0.1")

    assert isinstance(outcome, Never)
    assert [] == told


async def test_what_a_service_does_not_accept_is_for_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Apprise says yes or no, and never why."""
    accepted, told = await sent(monkeypatch, "1.1.1.1")
    assert (Delivered(), 1) == (accepted, len(told))
    refused, _ = await sent(monkeypatch, "1.1.1.1", accepted=False)
    assert Later("Chat did not accept it") == refused


async def test_a_url_apprise_cannot_read_is_for_never(monkeypatch: pytest.MonkeyPatch) -> None:
    """And it is not repeated in the reason."""
    outcome, _ = await sent(monkeypatch, "1.1.1.1", url="nosuch://s3cr3t")

    assert Never("Apprise cannot read the channel's URL") == outcome
