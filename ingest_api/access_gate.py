"""Who is let in: ASGI middleware in front of all routes, also of the quick ways of `/predict`
and `/events`.

It asks, in this order: is the gateway meant by this name (`Host`), who asks, is it a page of ours
that makes the browser change something, and may they (`access.TABLE`). Nothing of a request's body
is read before.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import structlog
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import cookie_parser
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from contracts.errors import ChurnError, StoreUnavailable
from contracts.times import from_ms
from ingest_api import problems
from ingest_api.access import (
    ANYBODY,
    CALLER,
    LOOKING,
    SESSION_HOURS,
    Caller,
    Scope,
    row_of,
)
from ingest_api.access_keys import ApiKey, KeysFile
from ingest_api.audit import SAID, Act, AuditStore, Trail, shortened
from ingest_api.guards import guarded
from ingest_api.mass_reads import MassReads
from ingest_api.metrics import GatewayMetrics
from ingest_api.problems import (
    ForeignPage,
    NoKey,
    NotAllowed,
    SessionsUnavailable,
    WrongHost,
)
from ingest_api.sessions import Sessions, SessionStore, digest_of
from runtime.clock import wall_ms

logger = structlog.get_logger(__name__)

COOKIE: Final = "ebbtide-session"
SECURE_COOKIE: Final = "__Host-ebbtide-session"
"""Over https: browsers take it from this host only, and never from a neighbour's subdomain."""
PAGE_HEADER: Final = "Ebbtide-Page"
"""What no page of others can send along with the cookie, whatever else browsers get wrong."""
STILL_GOOD_MS: Final = 10_000
"""How often it is asked whether who listens to a long answer still may."""
MAX_KEY_BYTES: Final = 256
HOSTS_SEEN: Final = 64

_AUTHORIZATION: Final = b"authorization"
_HOST: Final = b"host"
_ORIGIN: Final = b"origin"
_SITE: Final = b"sec-fetch-site"
_COOKIE: Final = b"cookie"
_PAGE: Final = PAGE_HEADER.lower().encode()
_FORWARDED: Final = frozenset({b"x-forwarded-for", b"forwarded"})
_TOLD: Final = frozenset({_AUTHORIZATION, _HOST, _ORIGIN, _SITE, _COOKIE, _PAGE}) | _FORWARDED
_ONCE: Final = frozenset({_AUTHORIZATION, _HOST, _ORIGIN})

Headers = Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Access:
    """How a gateway is reached, and by whom. By default: from this machine, by everybody on it."""

    keys: KeysFile | None = None
    """None: nobody needs a key, and only names of this machine are answered to."""
    allowed_hosts: tuple[str, ...] = ()
    """Names the gateway goes by, besides those of loopback; with keys and none here: all."""
    cors_origins: tuple[str, ...] = ()
    """Pages of others that may ask, with a key."""
    public_url: str = ""
    """Where people reach the gateway."""
    session_hours: float = SESSION_HOURS
    sessions: SessionStore | None = None
    audit: AuditStore | None = None
    now: Callable[[], int] = wall_ms
    """Epoch ms of the wall, whatever clock scores go by."""


class Gate:
    """Lets requests through to `app`, with who asks in their scope, or refuses them."""

    def __init__(self, app: ASGIApp, access: Access, metrics: GatewayMetrics, trail: Trail) -> None:
        self._app = app
        self._reads = MassReads(trail, access.now)
        self._keys = access.keys
        self._now = access.now
        self._hosts = _Hosts(access)
        self._own_origins = frozenset(filter(None, [_origin(access.public_url)]))
        self._cors = frozenset(access.cors_origins)
        self._https = access.public_url.startswith("https:")
        self._refused = metrics.refused
        self._trail = trail
        # A proxy before a gateway that needs no keys is for `_Hosts` to judge.
        self._usual = {_HOST} if access.keys is None else {_HOST, _AUTHORIZATION, *_FORWARDED}
        self.sessions = (
            None
            if access.sessions is None or access.keys is None
            else Sessions(access.sessions, access.now, hours=access.session_hours)
        )

    async def run(self) -> None:
        """What goes on beside requests, until cancelled."""
        await self._reads.run()

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                # There is none; and none must come to be that nobody guards.
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._app(scope, receive, send)
            return
        try:
            caller, needed = await self._let_in(scope)
        except ChurnError as error:
            await self._refuse(error, scope, send)
            return
        if caller is not None:
            scope[CALLER] = caller
        if caller is None or needed is None or needed is Scope.WRITE:
            await self._app(scope, receive, send)
        elif scope["method"] in LOOKING:
            watched = send if self._keys is None else self._while_good(caller, send)
            try:
                await self._app(scope, receive, self._reads.noting_start(scope, caller, watched))
            finally:
                self._reads.answered(scope, caller)
        else:
            await self._noted(scope, caller, receive, send)

    def may_write(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether who sends these headers may predict and send events, without asking any further.

        False is no refusal: what is unusual is for `__call__` to judge. Of the two, a program with
        a key, and one on this machine, are what matters here.
        """
        told = _told(headers)
        if not told.keys() <= self._usual or not self._hosts.knows(told.get(_HOST)):
            return False
        if self._keys is None:
            return True
        caller = self._holder(told)
        return caller is not None and Scope.WRITE in caller.scopes

    async def _let_in(self, scope: AsgiScope) -> tuple[Caller | None, Scope | None]:
        """Who asks, and which scope that took; raises what there is to say against it."""
        told = _told(scope["headers"])
        self._hosts.check(told)
        path, method = scope["path"], scope["method"]
        row = row_of(path)
        looks = method in LOOKING
        needed = None if row is None else row.look if looks else row.change
        if self._keys is None:
            if not looks:
                self._require_own_page(told)
            return ANYBODY, needed
        # What is the same for everybody is not worth a question to Redis.
        is_free = row is not None and needed is None
        if is_free and path != "/session":
            return None, None
        caller = await self._caller(told)
        if caller is None and is_free:
            if not looks:
                self._require_own_page(told)
            return None, None
        if caller is None:
            raise NoKey(
                "send a key as `Authorization: Bearer ...`, or log in at /app/; "
                "`ebbtide keys new` makes one"
                if _AUTHORIZATION not in told
                else "this key is unknown, or has expired",
                given=_AUTHORIZATION in told,
            )
        if not looks and caller.via == "session":
            self._require_own_page(told, strictly=True)
        if row is None:
            raise problems.NoSuchPath("There is nothing at this path; /docs lists what there is")
        if needed is not None and needed not in caller.scopes:
            raise NotAllowed(
                f"this needs the scope '{needed}', and the key {caller.name!r} has "
                f"{', '.join(sorted(caller.scopes))}",
                scope=needed,
                caller=caller,
            )
        return caller, needed

    async def _caller(self, told: Headers) -> Caller | None:
        """Who asks, by key or by session; the header goes before the cookie."""
        assert self._keys is not None
        if _AUTHORIZATION in told:
            key = self._holder(told)
            if key is None:
                return None
            return Caller(key.name, key.scopes, "key", key.sha256, key.expires_at)
        token = self._token(told)
        if token is None or self.sessions is None:
            return None
        digest = digest_of(token)
        try:
            session = await self.sessions.find(digest)
        except StoreUnavailable as error:
            raise SessionsUnavailable(str(error)) from error
        if session is None:
            return None
        key_digest = bytes.fromhex(session.key)
        holder = self._keys.ring.known(key_digest, self._now())
        if holder is None:
            return None
        return Caller(
            holder.name,
            holder.scopes,
            "session",
            key_digest,
            session.expires_at,
            bytes.fromhex(digest),
        )

    def _holder(self, told: Headers) -> ApiKey | None:
        """The key in the header; None for none, and for one that is no good."""
        assert self._keys is not None
        scheme, _, credentials = told.get(_AUTHORIZATION, b"").partition(b" ")
        key = credentials.strip(b" \t")
        if scheme.lower() != b"bearer" or not 0 < len(key) <= MAX_KEY_BYTES:
            return None
        return self._keys.ring.holder_of(key, self._now())

    def _token(self, told: Headers) -> str | None:
        """The session's id in the cookies; over https only where no neighbour can have put it."""
        if _COOKIE not in told:
            return None
        found = cookie_parser(told[_COOKIE].decode("latin-1"))
        return found.get(SECURE_COOKIE) or (None if self._https else found.get(COOKIE))

    def _require_own_page(self, told: Headers, *, strictly: bool = False) -> None:
        """Raise ForeignPage where a browser says that a page of others makes it ask.

        strictly: also where nothing says that it is a page of ours, for the cookie comes along by
        itself.
        """
        origin = told.get(_ORIGIN)
        named = None if origin is None else origin.decode("latin-1")
        site = told.get(_SITE)
        ours = site == b"same-origin" or (
            named is not None and (named in self._own_origins or _is_at(named, told.get(_HOST)))
        )
        if strictly:
            if not ours or _PAGE not in told:
                raise ForeignPage(
                    f"with a login, changes need the header {PAGE_HEADER} and come from the "
                    "gateway's own pages; programs use a key"
                )
        elif not ours and (named is not None or site is not None) and named not in self._cors:
            raise ForeignPage(
                "a page of another origin asks for this; name the origin in EBBTIDE_CORS_ORIGINS "
                "if it may"
            )

    def _while_good(self, caller: Caller, send: Send) -> Send:
        """A send that ends an answer of many pieces when its reader's key or session has ended."""
        ask_at = self._now() + STILL_GOOD_MS
        over = False

        async def sending(message: Message) -> None:
            nonlocal ask_at, over
            if over:
                return
            if message.get("more_body") and self._now() >= ask_at:
                ask_at = self._now() + STILL_GOOD_MS
                if not await self._is_still_good(caller):
                    over = True
                    await send({"type": "http.response.body", "body": b""})
                    return
            await send(message)

        return sending

    async def _is_still_good(self, caller: Caller) -> bool:
        assert self._keys is not None
        holder = self._keys.ring.known(caller.digest, self._now())
        if holder is None or not caller.scopes <= holder.scopes:
            return False
        if caller.via != "session" or self.sessions is None:
            return True
        with suppress(StoreUnavailable):
            return await self.sessions.find(caller.session.hex()) is not None
        return False

    async def _noted(self, scope: AsgiScope, caller: Caller, receive: Receive, send: Send) -> None:
        """Answer an action, and note in the audit log what came of it."""
        status = 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            self._note(scope, caller, status)

    def _note(self, scope: AsgiScope, caller: Caller, status: int) -> None:
        route = getattr(scope.get("route"), "path_format", None)
        self._trail.note(
            Act(
                at=from_ms(self._now()),
                who=caller.name,
                via=caller.via,
                action=f"{scope['method']} {route or shortened(scope['path'])}",
                target=shortened(scope["path"]),
                status=status,
                address=(scope.get("client") or ("",))[0],
                said=shortened(scope.get(SAID, "")),
            )
        )

    async def _refuse(self, error: ChurnError, scope: AsgiScope, send: Send) -> None:
        problem = problems.problem_of(error)
        self._refused.labels(problem.type.rpartition(":")[2]).inc()
        if isinstance(error, NotAllowed) and scope["method"] not in LOOKING:
            self._note(scope, error.caller, problem.status)
        answer = guarded(problems.answer(problem, problems.headers_of(error)))
        for message in messages(answer, head=scope["method"] == "HEAD"):
            await send(message)


def across_origins(gate: Gate, access: Access) -> ASGIApp:
    """The gate, with what lets pages of `access.cors_origins` ask: with a key, never a cookie."""
    if not access.cors_origins:
        return gate
    return CORSMiddleware(
        gate,
        allow_origins=access.cors_origins,
        allow_methods=("GET", "POST", "DELETE"),
        allow_headers=("Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID"),
        expose_headers=("Ebbtide-Basis", "Ebbtide-Origin", "Retry-After"),
    )


class _Hosts:
    """The names a gateway is answered to by: a page of others may give its own name our address."""

    def __init__(self, access: Access) -> None:
        self._names = {host.lower() for host in access.allowed_hosts}
        self._any = access.keys is not None and not self._names
        self._open = access.keys is None
        self._seen: set[bytes] = set()

    def knows(self, host: bytes | None) -> bool:
        """Whether the gateway goes by this name; a browser always says one."""
        if self._any or host is None or host in self._seen:
            return True
        name = _name(host)
        if name not in self._names and not _is_this_machine(name):
            return False
        if len(self._seen) < HOSTS_SEEN:
            self._seen.add(host)
        return True

    def check(self, told: Headers) -> None:
        """Raises WrongHost, and NoKey where a proxy may let everybody in."""
        host = told.get(_HOST)
        if not self.knows(host):
            raise WrongHost(
                f"this gateway is not called {host!r}; name it in EBBTIDE_ALLOWED_HOSTS if it is"
            )
        if self._open and not _FORWARDED.isdisjoint(told) and not self._names:
            raise NoKey(
                "this request comes through a proxy, so others than this machine may reach the "
                "gateway: set EBBTIDE_API_KEYS_FILE (docs/security.md)",
                given=False,
            )


def messages(answer: Response, *, head: bool) -> tuple[Message, Message]:
    """A response as the two ASGI messages it is."""
    start = {
        "type": "http.response.start",
        "status": answer.status_code,
        "headers": answer.raw_headers,
    }
    return start, {"type": "http.response.body", "body": b"" if head else answer.body}


def _told(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The headers that say who asks. What must be said once, and is twice, counts as nonsense."""
    told: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _TOLD:
            if name not in told:
                told[name] = value
            elif name in _ONCE:
                told[name] = b"twice"
            elif name == _COOKIE:
                told[name] += b"; " + value
    return told


def _authority(host: bytes | None) -> str | None:
    return None if host is None else host.decode("latin-1").lower()


def _name(host: bytes) -> str:
    """The name in a Host header, without port and brackets."""
    if b"@" in host:
        return ""
    try:
        return urlsplit(f"//{host.decode('latin-1')}").hostname or ""
    except ValueError:
        return ""


def _is_this_machine(name: str) -> bool:
    """Whether it is a name of loopback. What a name resolves to is what an attacker chooses."""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_at(origin: str, host: bytes | None) -> bool:
    """Whether the origin is served by who is called so: `null` and the like are by nobody."""
    scheme, _, authority = origin.partition("://")
    if scheme not in ("http", "https") or not authority or host is None:
        return False
    return authority.lower() == host.decode("latin-1").lower()


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower() if parts.netloc else ""
