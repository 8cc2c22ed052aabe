"""`/session`: what the caller may do, and the dashboard's login."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
import structlog
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from contracts.errors import StoreUnavailable
from contracts.times import SECOND_MS, from_ms
from ingest_api import bodies, openapi
from ingest_api.access import ANYBODY, Caller, Scope, caller
from ingest_api.access_gate import COOKIE, MAX_KEY_BYTES, SECURE_COOKIE, Access
from ingest_api.audit import Act, Trail
from ingest_api.problems import (
    FieldError,
    Invalid,
    NoKey,
    NotAllowed,
    SessionsUnavailable,
    TooManyTries,
)
from ingest_api.sessions import Failures, Sessions

logger = structlog.get_logger(__name__)

MAX_BYTES: Final = 4_096


class Login(msgspec.Struct, forbid_unknown_fields=True):
    """A key with the scope `read`."""

    key: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_KEY_BYTES)]


class SessionPage(msgspec.Struct, frozen=True):
    """Who asks, and what they may."""

    needs_key: bool
    """Whether this gateway asks for keys at all."""
    name: str | None
    """Of the key; null for who has not said."""
    via: Literal["open", "key", "session"] | None
    scopes: tuple[Scope, ...]
    expires_at: datetime | None
    """When the session, or the key, is good no more; null: not by itself."""


def router(*, access: Access, sessions: Sessions | None, trail: Trail) -> APIRouter:
    """The routes. sessions: None where there are none, since nobody needs a key."""
    routes = APIRouter(tags=["access"])
    failures = Failures(access.now)
    needs_key = access.keys is not None

    def page(who: Caller | None) -> SessionPage:
        if who is None:
            return SessionPage(needs_key, None, None, (), None)
        expires = None if who.expires_at is None else from_ms(who.expires_at)
        scopes = tuple(scope for scope in Scope if scope in who.scopes)
        name = who.name if needs_key else None
        return SessionPage(needs_key, name, who.via, scopes, expires)

    def note(request: Request, who: Caller, action: str, status: int) -> None:
        address = _address(request)
        trail.note(
            Act(from_ms(access.now()), who.name, who.via, action, "/session", status, address)
        )

    @routes.get(
        "/session",
        summary="Who you are, and what you may",
        description="Answered to everybody: so a page knows whether to ask for a key.",
        responses=openapi.responses({200: openapi.of(SessionPage, "What is known of you.")}, 503),
    )
    async def get_session(request: Request) -> Response:
        return openapi.reply(page(caller(request)))

    @routes.post(
        "/session",
        summary="Log in",
        description="Takes a key with the scope `read` and answers with a cookie that stands for "
        "it in this browser, for `EBBTIDE_SESSION_HOURS` and as long as the key is good. Programs "
        "send the key itself, as `Authorization: Bearer ...`.",
        openapi_extra=openapi.body(Login, example={"key": "ebb_..."}),
        responses=openapi.responses(
            {
                200: openapi.of(
                    SessionPage, "You are logged in.", headers={"Set-Cookie": "The session."}
                )
            },
            400, 401, 403, 408, 413, 415, 422, 429, 503,
        ),
    )  # fmt: skip
    async def log_in(request: Request) -> Response:
        said = _read(await bodies.read(request, MAX_BYTES))
        if access.keys is None or sessions is None:
            return openapi.reply(page(ANYBODY))
        address = _address(request)
        if wait := failures.wait_seconds(address):
            raise TooManyTries(wait)
        found = access.keys.ring.holder_of(said.key.encode(), access.now())
        if found is None:
            failures.note(address)
            # Not in the audit log: anybody could fill that.
            logger.warning("login_refused", address=address)
            raise NoKey("this key is unknown, or has expired", given=True)
        who = Caller(found.name, found.scopes, "session", found.sha256)
        if Scope.READ not in found.scopes:
            note(request, who, "login", 403)
            raise NotAllowed(
                f"the dashboard needs the scope 'read', and the key {found.name!r} does not "
                "have it",
                scope=Scope.READ,
                caller=who,
            )
        try:
            await _end(sessions, caller(request))
            token, session = await sessions.open(found)
        except StoreUnavailable as error:
            raise SessionsUnavailable(str(error)) from error
        note(request, who, "login", 200)
        who = replace(who, expires_at=session.expires_at)
        seconds = (session.expires_at - access.now()) // SECOND_MS
        cookie = _cookie(token, seconds, secure=_is_https(request, access))
        return openapi.reply(page(who), headers={"Set-Cookie": cookie})

    @routes.delete(
        "/session",
        status_code=204,
        summary="Log out",
        description="Ends the session, everywhere, and takes the cookie back. Without one, nothing "
        "happens.",
        responses={
            204: {"description": "You are logged out."},
            **openapi.responses({}, 403, 503),
        },
    )
    async def log_out(request: Request) -> Response:
        who = caller(request)
        if sessions is not None and who is not None and who.via == "session":
            try:
                await _end(sessions, who)
            except StoreUnavailable as error:
                note(request, who, "logout", 503)
                raise SessionsUnavailable(
                    "this gateway has forgotten the login, others may know it until "
                    f"{from_ms(who.expires_at or 0).isoformat()}: {error}"
                ) from error
            note(request, who, "logout", 204)
        answer = Response(status_code=204)
        for secure in (False, True):
            answer.headers.append("Set-Cookie", _cookie("", 0, secure=secure))
        return answer

    return routes


async def _end(sessions: Sessions, who: Caller | None) -> None:
    """End the session that came along: a login never goes on under an id of before it."""
    if who is not None and who.via == "session":
        await sessions.close(who.session.hex())


def _cookie(token: str, seconds: int, *, secure: bool) -> str:
    # Strict: no link and no form of another site is sent along with it. The app's pages need none:
    # they are the same for everybody, and what they ask for is asked by a page of ours.
    name = SECURE_COOKIE if secure else COOKIE
    end = "; Secure" if secure else ""
    return f"{name}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{end}"


def _is_https(request: Request, access: Access) -> bool:
    return access.public_url.startswith("https:") or request.url.scheme == "https"


def _address(request: Request) -> str:
    return "" if request.client is None else request.client.host


def _read(body: bytes) -> Login:
    """Raises Malformed, or Invalid. Never says what was sent: it may be a key."""
    try:
        return msgspec.json.decode(body, type=Login)
    except msgspec.ValidationError as error:
        raise Invalid([FieldError("key", str(error))]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bodies.malformed(error) from None
