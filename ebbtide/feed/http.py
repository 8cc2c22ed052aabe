"""Records to the gateway's POST /events, in lists."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from contracts.errors import BadRecord, LogUnavailable, Misconfigured
from ebbtide.feed.records import Sendable
from ebbtide.feed.sink import Refusal

PATIENCE_SECONDS: Final = 600.0
"""How long the gateway may be away before we give up."""

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_BUSY = (429, 502, 503, 504)


@dataclass(frozen=True)
class Answer:
    """What the gateway said. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Post = Callable[[bytes], Awaitable[Answer]]
"""Posts a JSON body; raises OSError or http.client.HTTPException when nobody answers."""

Pause = Callable[[float], Awaitable[bool]]
"""Waits so many seconds; True if we were asked to stop meanwhile."""


class HttpSink:
    """One lane: a list is posted when the one before it was answered."""

    lanes = 1

    def __init__(self, post: Post, pause: Pause, *, target: str) -> None:
        self._post = post
        self._pause = pause
        self._target = target
        self._ever_accepted = False

    @property
    def target(self) -> str:
        """The address posted to."""
        return self._target

    def lane(self, user_id: str) -> int:
        """Always 0."""
        return 0

    async def send(self, chunk: Sequence[Sendable]) -> list[Refusal]:
        """Post until it is answered for good, waiting as told while the gateway is away.

        Raises LogUnavailable when patience ends, BadRecord when the gateway takes nothing at
        all, Misconfigured when the address is not a gateway's.
        """
        answer = await self._answered(b"[" + b",".join(record.value for record in chunk) + b"]")
        if answer.status == 413 and len(chunk) > 1:
            half = len(chunk) // 2
            return await self.send(chunk[:half]) + await self.send(chunk[half:])
        refusals = _refusals(answer, chunk)
        if len(refusals) < len(chunk):
            self._ever_accepted = True
        elif not self._ever_accepted:
            raise BadRecord(f"{self._target} takes none of the events: {refusals[0].reason}")
        return refusals

    async def tick(self, moment_ms: int) -> None:
        """Nothing: over HTTP, time is when an event arrives."""

    async def _answered(self, body: bytes) -> Answer:
        waited, pause = 0.0, _FIRST_PAUSE
        while True:
            try:
                answer = await self._post(body)
                if answer.status not in _BUSY:
                    return answer
                trouble = f"answers {answer.status}"
                wait = _retry_after(answer) or pause
            except (OSError, http.client.HTTPException) as error:
                trouble = str(error) or type(error).__name__
                wait = pause
            if waited >= PATIENCE_SECONDS:
                raise LogUnavailable(f"{self._target}: {trouble}; gave up after {waited:.0f} s")
            if await self._pause(wait):
                raise LogUnavailable(f"{self._target}: {trouble}; stopped while waiting for it")
            waited += wait
            pause = min(pause * 2, _LONGEST_PAUSE)


def _retry_after(answer: Answer) -> float | None:
    text = answer.headers.get("retry-after", "")
    return min(float(text), _LONGEST_PAUSE) if text.isdecimal() else None


def _refusals(answer: Answer, chunk: Sequence[Sendable]) -> list[Refusal]:
    said = _json(answer.body)
    if answer.status == 202:
        return [Refusal(chunk[item["index"]], item["reason"]) for item in said.get("rejected", ())]
    if answer.status in (413, 422):
        reason = str(said.get("detail") or said.get("title") or f"status {answer.status}")
        return [Refusal(record, reason) for record in chunk]
    if answer.status in (401, 403):
        raise Misconfigured(
            f"the gateway answers {answer.status} to POST /events: {said.get('detail')}; "
            "EBBTIDE_API_KEY must be a key with the scope `write`"
        )
    raise Misconfigured(
        f"the gateway answers {answer.status} to POST /events: {answer.body[:200]!r}; "
        "is the address right?"
    )


def _json(body: bytes) -> dict[str, Any]:
    try:
        said = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return {}
    return said if isinstance(said, dict) else {}


def events_url(url: str) -> str:
    """Complete a gateway's address to that of its events; raises Misconfigured if it is none."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Misconfigured(f"{url!r} is no address; give one like http://127.0.0.1:8000")
    path = parts.path.rstrip("/")
    return (
        f"{parts.scheme}://{parts.netloc}{path if path.endswith('/events') else path + '/events'}"
    )


class Connection:
    """A kept-alive connection; opened at the first post and again after trouble."""

    def __init__(self, url: str, *, key: str | None = None, timeout: float = 30.0) -> None:
        """key: of a gateway that asks for one, with the scope `write`."""
        parts = urlsplit(url)
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._connection = kind(parts.netloc, timeout=timeout)
        self._path = parts.path
        self._headers = {"Content-Type": "application/json"}
        if key is not None:
            self._headers["Authorization"] = f"Bearer {key}"

    async def post(self, body: bytes) -> Answer:
        """See Post."""
        return await asyncio.to_thread(self._exchange, body)

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def _exchange(self, body: bytes) -> Answer:
        try:
            self._connection.request("POST", self._path, body, self._headers)
            response = self._connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, headers, response.read())
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise
