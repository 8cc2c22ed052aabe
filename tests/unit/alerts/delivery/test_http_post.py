"""One guarded POST, and what comes of every answer."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence

import httpx2
import pytest

from alerts.delivery.http_post import new_client, post, retry_after_ms
from alerts.delivery.outcome import Delivered, Gone, Later, Never, Outcome
from tests.churn_scores import NOON

Answer = Callable[[httpx2.Request], httpx2.Response]


async def posted(
    answer: Answer,
    *addresses: str,
    allow_private: bool = False,
    url: str = "https://a.example/x?t=1",
) -> Outcome:
    async def resolving(host: str, port: int) -> Sequence[str]:
        return addresses or ("93.184.216.34",)

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as client:
        return await post(
            client,
            url,
            b"{}",
            {"webhook-id": "m1"},
            timeout_seconds=5,
            allow_private=allow_private,
            now_ms=NOON,
            resolving=resolving,
        )


def status(code: int, **headers: str) -> Answer:
    return said(code, b"", **headers)


def said(code: int, *parts: bytes, **headers: str) -> Answer:
    """An answer whose body comes in parts, as from a socket."""

    async def body() -> AsyncIterator[bytes]:
        for part in parts:
            yield part

    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: httpx2.Response(code, headers=named, content=body())


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        *((code, Delivered) for code in (200, 201, 204)),
        *((code, Later) for code in (408, 425, 429, 500, 502, 503, 504)),
        *((code, Never) for code in (301, 302, 307, 308, 400, 401, 403, 404, 422)),
        (410, Gone),
    ],
)
async def test_every_status_has_its_consequence(code: int, kind: type) -> None:
    """Success, again later, never, or the channel is gone; redirects are not followed."""
    assert isinstance(await posted(status(code, location="https://b.example/")), kind)


async def test_the_connection_goes_to_the_checked_address_under_the_name() -> None:
    """URL by address; Host and SNI by name."""
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200)

    await posted(answer, url="https://a.example:8443/x?t=1")

    (request,) = seen
    assert "https://93.184.216.34:8443/x?t=1" == str(request.url)
    assert "a.example:8443" == request.headers["host"]
    assert "a.example" == request.extensions["sni_hostname"]
    assert "m1" == request.headers["webhook-id"]


async def test_a_forbidden_address_is_never_asked() -> None:
    """The guard stands before the connection, and its word is final."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        raise AssertionError("was asked")

    assert isinstance(await posted(answer, "10.0.0.1"), Never)
    assert isinstance(await posted(answer, "169.254.169.254", allow_private=True), Never)
    assert isinstance(await posted(status(200), "10.0.0.1", allow_private=True), Delivered)


async def test_another_address_is_tried_when_one_does_not_answer() -> None:
    """A name with a dead IPv6 address still works."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.host == "2606:4700::1111":
            raise httpx2.ConnectError("unreachable")
        return httpx2.Response(200)

    assert Delivered() == await posted(answer, "2606:4700::1111", "1.1.1.1")


async def test_a_failed_connection_does_not_tell_the_address() -> None:
    """A webhook's URL may hold a token: the log must not."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadError(f"broken: {request.url}")

    outcome = await posted(answer, url="https://a.example/s3cr3t")

    assert isinstance(outcome, Later)
    assert "s3cr3t" not in outcome.reason


async def test_no_log_line_holds_an_address(caplog: pytest.LogCaptureFixture) -> None:
    """Not even one of the HTTP library's own: a Slack URL is a secret."""
    caplog.set_level(logging.DEBUG)
    await new_client().aclose()

    assert Delivered() == await posted(status(200), url="https://a.example/s3cr3t")
    assert "s3cr3t" not in caplog.text


async def test_a_refusals_words_are_cut_to_a_line() -> None:
    """What a receiver says goes into the log, but not pages of it."""
    outcome = await posted(said(400, b"invalid\n\x1b[31m", b"x" * 9999))

    assert isinstance(outcome, Never)
    assert outcome.reason.startswith("HTTP 400: invalid")
    assert outcome.reason.isprintable()
    assert len(outcome.reason) < 250


async def test_a_receiver_says_how_long_to_wait() -> None:
    """Retry-After in seconds or as a date."""
    outcome = await posted(status(429, retry_after="120"))

    assert Later("HTTP 429", 120_000) == outcome
    assert 60_000 == retry_after_ms("Tue, 14 Nov 2023 22:14:20 GMT", NOON)
    assert 0 == retry_after_ms("Tue, 14 Nov 2000 22:14:20 GMT", NOON)
    assert retry_after_ms("soon", NOON) is None
    assert retry_after_ms(None, NOON) is None
