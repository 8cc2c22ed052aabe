"""A gateway that needs keys, with one of each kind, and the browser of somebody logged in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from ingest_api import access_keys
from ingest_api.access_gate import Access
from ingest_api.access_keys import KeysFile
from ingest_api.audit import RedisAudit
from ingest_api.sessions import RedisSessions
from runtime.testing import FakeRedis
from tests.unit.ingest_api.stand import NOON, Stand, standing

KEYS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "shop": ("ebb_shop", ("write",)),
    "crm": ("ebb_crm", ("read",)),
    "grace": ("ebb_grace", ("read", "operate")),
    "ops": ("ebb_ops", ("operate",)),
    "admin": ("ebb_admin", ("write", "read", "operate")),
}
"""Name to key and scopes. Short, for nobody guesses here."""

PAGE: Final = {"ebbtide-page": "1", "sec-fetch-site": "same-origin"}
"""What the dashboard's own requests say."""


def lines(names: Mapping[str, tuple[str, tuple[str, ...]]] = KEYS) -> str:
    """The file of these keys."""
    return "".join(
        access_keys.line(name, access_keys.scopes_of(scopes), access_keys.digest(key), None)
        for name, (key, scopes) in names.items()
    )


def bearing(name: str) -> dict[str, str]:
    """The header of a key."""
    return {"authorization": f"Bearer {KEYS[name][0]}"}


class Keyed(Stand):
    """The gateway; `wall` holds the time that keys and sessions go by."""

    wall: list[int]
    keys: KeysFile


@asynccontextmanager
async def keyed(folder: Path, **more: Any) -> AsyncIterator[Keyed]:
    """A gateway that needs keys. more: of `Access`."""
    path = folder / "keys.yaml"
    if not path.exists():
        path.write_text(lines())
    wall, keys = [NOON], KeysFile(path)

    def access(redis: FakeRedis) -> Access:
        return Access(
            keys=keys,
            sessions=RedisSessions(redis.client),
            audit=RedisAudit(redis.client),
            now=lambda: wall[0],
            **more,
        )

    async with standing(access=access) as stand:
        stand.wall, stand.keys = wall, keys  # type: ignore[attr-defined]
        yield stand  # type: ignore[misc]


async def log_in(gateway: Stand, name: str, **more: str) -> Any:
    """The answer to a login; the client keeps the cookie as a browser would."""
    return await gateway.http.post("/session", json={"key": KEYS[name][0]}, headers=PAGE | more)
