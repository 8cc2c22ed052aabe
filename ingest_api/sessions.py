"""Logins of the dashboard: a key is shown once, and a cookie with a random id stands for it.

Sessions lie in Redis, so that all gateways know them, a restart keeps them, and a logout ends them
everywhere. Redis holds digests of ids only. A session is worth what its key is worth now: taking
the key out of the file ends it.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, cast

import msgspec
from redis.asyncio import Redis

from contracts.errors import StoreUnavailable
from contracts.times import HOUR_MS, MINUTE_MS, SECOND_MS
from ingest_api.access import SESSION_HOURS
from ingest_api.access_keys import ApiKey
from runtime import keys
from runtime.redis_errors import redis_errors

FRESH_MS: Final = 5 * SECOND_MS
"""A session is asked for again after so long: so long may a logout take to reach other gateways."""
GRACE_MS: Final = 10 * MINUTE_MS
"""A session seen by this gateway goes on for so long while Redis does not answer."""
REMEMBERED: Final = 10_000
READ_SECONDS: Final = 1.0

MOST_FAILURES: Final = 10
FAILURES_MS: Final = 5 * MINUTE_MS
"""So many wrong keys from one address within this, and it is not listened to until it is over."""


class Session(msgspec.Struct, frozen=True):
    """What is stored of a login."""

    name: str
    """Of the key."""
    key: str
    """SHA-256 of the key, in hexadecimal."""
    expires_at: int
    """Epoch ms."""


class SessionStore(Protocol):
    """Where sessions lie. Everything raises StoreUnavailable."""

    async def put(self, digest: str, session: bytes, lifetime_ms: int) -> None:
        """Keep a session."""
        ...

    async def get(self, digest: str) -> bytes | None:
        """A session, None for one that is over or never was."""
        ...

    async def delete(self, digest: str) -> None:
        """End a session."""
        ...


class RedisSessions:
    """The SessionStore of a Redis."""

    def __init__(self, redis: Redis, *, timeout_seconds: float = READ_SECONDS) -> None:
        self._redis = redis
        self._timeout = timeout_seconds

    async def put(self, digest: str, session: bytes, lifetime_ms: int) -> None:
        with redis_errors("keeping a login"):
            async with asyncio.timeout(self._timeout):
                await self._redis.set(keys.session(digest), session, px=lifetime_ms)

    async def get(self, digest: str) -> bytes | None:
        with redis_errors("reading a login"):
            async with asyncio.timeout(self._timeout):
                found = await self._redis.get(keys.session(digest))
        return cast("bytes | None", found)

    async def delete(self, digest: str) -> None:
        with redis_errors("ending a login"):
            async with asyncio.timeout(self._timeout):
                await self._redis.delete(keys.session(digest))


@dataclass(slots=True)
class _Remembered:
    session: Session | None
    """None: it has ended here, whatever Redis says."""
    seen_at: int
    """When Redis last said so."""
    ask_at: int
    """When to ask again."""


class Sessions:
    """Opens, finds and ends sessions. now: epoch ms, of the wall."""

    def __init__(
        self, store: SessionStore, now: Callable[[], int], *, hours: float = SESSION_HOURS
    ) -> None:
        self._store = store
        self._now = now
        self.lifetime_ms: Final = round(hours * HOUR_MS)
        self._remembered: OrderedDict[str, _Remembered] = OrderedDict()

    async def open(self, key: ApiKey) -> tuple[str, Session]:
        """A new session of the key: its id, which only the browser may know, and what is stored.

        It ends with the key at the latest. Raises StoreUnavailable.
        """
        token = secrets.token_urlsafe(32)
        now = self._now()
        expires = now + self.lifetime_ms
        if key.expires_at is not None:
            expires = min(expires, key.expires_at)
        session = Session(key.name, key.sha256.hex(), expires)
        await self._store.put(digest_of(token), msgspec.json.encode(session), expires - now)
        self._remember(digest_of(token), session, now)
        return token, session

    async def find(self, digest: str) -> Session | None:
        """The session whose id has this digest; None for one that is over or never was.

        Raises StoreUnavailable where Redis does not answer and this gateway has not seen the
        session lately.
        """
        now = self._now()
        known = self._remembered.get(digest)
        if known is None or (now >= known.ask_at and known.session is not None):
            known = await self._ask(digest, known, now)
        if known is None or known.session is None or now >= known.session.expires_at:
            return None
        return known.session

    async def close(self, digest: str) -> None:
        """End a session: here at once, also if this raises StoreUnavailable."""
        now = self._now()
        self._remember(digest, None, now)
        await self._store.delete(digest)

    async def _ask(self, digest: str, known: _Remembered | None, now: int) -> _Remembered | None:
        try:
            stored = await self._store.get(digest)
        except StoreUnavailable:
            if known is None or now >= known.seen_at + GRACE_MS:
                raise
            known.ask_at = now + FRESH_MS
            return known
        later = self._remembered.get(digest)
        if later is not None and later.session is None:
            return later  # it was ended while we asked
        if stored is None:
            self._remembered.pop(digest, None)
            return None
        return self._remember(digest, msgspec.json.decode(stored, type=Session), now)

    def _remember(self, digest: str, session: Session | None, now: int) -> _Remembered:
        known = _Remembered(session, now, now + FRESH_MS)
        self._remembered[digest] = known
        self._remembered.move_to_end(digest)
        while len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)
        return known


class Failures:
    """Wrong keys by address, so that nobody tries many. now: epoch ms."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._counts: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def wait_seconds(self, address: str) -> int:
        """How long the address is not listened to; 0: it is."""
        count, until = self._counts.get(_network(address), (0, 0))
        left = until - self._now()
        return -(-left // SECOND_MS) if count >= MOST_FAILURES and left > 0 else 0

    def note(self, address: str) -> None:
        """One more wrong key."""
        network, now = _network(address), self._now()
        count, until = self._counts.pop(network, (0, 0))
        self._counts[network] = (count + 1, until) if now < until else (1, now + FAILURES_MS)
        while len(self._counts) > REMEMBERED:
            self._counts.popitem(last=False)


def digest_of(token: str) -> str:
    """What Redis holds of a session's id."""
    return hashlib.sha256(token.encode()).hexdigest()


def _network(address: str) -> str:
    """The address; of IPv6 the network, of which one customer has all addresses."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))
