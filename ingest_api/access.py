"""Who may do what: scopes, the one table of what a path needs, and who asks.

What a path needs is decided by its first part, in front of all routes, so that a route that nobody
thought of is closed rather than open. Imports nothing that takes long: commands use it, too.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from contracts.errors import Misconfigured

if TYPE_CHECKING:
    from starlette.requests import Request


class Scope(StrEnum):
    """What a key may be good for. No scope holds another."""

    WRITE = "write"
    """Say what users did, and predict."""
    READ = "read"
    """Look at users, scores, alerts, the model and the machine."""
    OPERATE = "operate"
    """Act on alerts and deliveries, erase users, read the audit log."""


@dataclass(frozen=True, slots=True)
class Row:
    """What the paths below one name need."""

    look: Scope | None
    """For GET, HEAD and OPTIONS; None: nobody has to say who they are."""
    change: Scope | None
    """For every other method."""


_FREE: Final = Row(None, None)
_WRITE: Final = Row(Scope.WRITE, Scope.WRITE)
_LOOK: Final = Row(Scope.READ, Scope.OPERATE)

TABLE: Final[Mapping[str, Row]] = {
    # Health says nothing of anybody, and is asked by what has no key.
    "livez": _FREE,
    "readyz": _FREE,
    # The app and the documentation are the same for everybody and hold no data.
    "": _FREE,
    "app": _FREE,
    "docs": _FREE,
    "openapi.json": _FREE,
    # Says what the caller may, takes a key and gives a session, and ends it.
    "session": _FREE,
    "predict": _WRITE,
    "events": _WRITE,
    "users": _LOOK,
    "users.csv": _LOOK,
    "alerts": _LOOK,
    "deliveries": _LOOK,
    "storm": _LOOK,
    "policy": _LOOK,
    "population": _LOOK,
    "model": _LOOK,
    "system": _LOOK,
    "dead-letters": _LOOK,
    "metrics": _LOOK,
    "audit": Row(Scope.OPERATE, Scope.OPERATE),
}
"""By the first part of the path. A path in no row is answered 404 where keys are needed."""

SESSION_HOURS: Final = 12.0
"""How long a login of the dashboard lasts, if nobody says otherwise."""

LOOKING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
CALLER: Final = "ebbtide.caller"
"""In the ASGI scope: who asks, once that is known."""


def row_of(path: str) -> Row | None:
    """What the path needs, None for one that is in no row. `path` as the routes match it."""
    if not path.startswith("/"):
        return None
    first, _, rest = path[1:].partition("/")
    return None if not first and rest else TABLE.get(first)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks."""

    name: str
    """Of the key; empty for who did not have to say."""
    scopes: frozenset[Scope]
    via: Literal["open", "key", "session"]
    digest: bytes = b""
    """SHA-256 of the key."""
    expires_at: int | None = None
    """Epoch ms: when the key, or the session, is good no more."""
    session: bytes = b""
    """Digest of the session's id."""


ANYBODY: Final = Caller("", frozenset(Scope), "open")
"""Who asks a gateway that needs no keys."""


def caller(request: Request) -> Caller | None:
    """Who asks; None where the path is free and nobody said."""
    found: Caller | None = request.scope.get(CALLER)
    return found


def actor(request: Request, claimed: str) -> str:
    """Who is to be named for an action: the key's name, and what is claimed where there is none."""
    found = caller(request)
    return claimed if found is None or found.via == "open" else found.name


def require_access(host: str, keys_file: Path | None, *, require_keys: bool = False) -> None:
    """Raise Misconfigured where others than this machine could ask without a key."""
    if keys_file is not None:
        return
    remedy = (
        "set EBBTIDE_API_KEYS_FILE to a file of keys (`ebbtide keys new --name admin --scopes "
        "write,read,operate --file keys.yaml` makes one)"
    )
    if require_keys:
        raise Misconfigured(f"EBBTIDE_REQUIRE_KEYS asks for keys, and there are none: {remedy}")
    if not is_loopback(host):
        raise Misconfigured(
            f"the gateway would listen on {host or 'every address'} (EBBTIDE_HOST), where others "
            f"reach it, and asks nobody for a key: {remedy}, or listen on 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        pass
    try:
        found: list[Any] = socket.getaddrinfo(host or None, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return bool(host) and all(ipaddress.ip_address(each[4][0]).is_loopback for each in found)
