"""Every error answer, as RFC 9457 problem details: the one place that knows status codes.

Handlers raise errors named after what is wrong; the table here says how HTTP puts it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec
import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from contracts.errors import ChurnError, LogUnavailable, StoreUnavailable, Unavailable
from ingest_api.access import Caller, Scope

logger = structlog.get_logger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_SECONDS: Final = 2


class FieldError(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is wrong with one field, and what would be right."""

    field: str
    """Path into the body, `items[3].time_spent`, or a parameter; empty for the whole."""
    reason: str
    index: int | None = None
    """Of the event in a list."""


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """RFC 9457 problem details."""

    type: str
    """`urn:ebbtide:problem:<name>`: the name does not change; `about:blank`: see the status."""
    title: str
    status: int
    detail: str
    errors: tuple[FieldError, ...] = ()
    acknowledged: int | None = None
    """Of a list of events: how many Kafka has although the request failed."""
    kafka: str | None = None
    redis: str | None = None


class RequestError(ChurnError):
    """A request that will not do, however often it is sent."""


class Malformed(RequestError):
    """What came is no text or no JSON."""


class WrongMediaType(RequestError):
    """The body does not say that it is JSON."""


class TooLarge(RequestError):
    """More bytes or more items than are taken at once."""


class TooSlow(RequestError):
    """A body that does not come to its end."""


class Invalid(RequestError):
    """Fields that break their limits, each with its reason."""

    def __init__(self, errors: Sequence[FieldError], detail: str | None = None) -> None:
        super().__init__(detail or "; ".join(_told(error) for error in errors[:3]))
        self.errors = tuple(errors)


class UnknownUser(RequestError):
    """Nothing is known of the user."""


class NotAcknowledged(LogUnavailable):
    """Kafka did not acknowledge all; `acknowledged` of the messages it did."""

    def __init__(self, reason: str, acknowledged: int = 0) -> None:
        super().__init__(reason)
        self.acknowledged = acknowledged


class Overloaded(Unavailable):
    """More is asked for at once than can be done."""


class NoKey(RequestError):
    """Nobody knows who asks; `given`: a key was, and it is no good."""

    def __init__(self, reason: str, *, given: bool) -> None:
        super().__init__(reason)
        self.headers = {
            "WWW-Authenticate": 'Bearer realm="ebbtide"' + ', error="invalid_token"' * given
        }


class NotAllowed(RequestError):
    """Who asks is known, and may not."""

    def __init__(self, reason: str, *, scope: Scope, caller: Caller) -> None:
        super().__init__(reason)
        self.caller = caller
        self.headers = {
            "WWW-Authenticate": 'Bearer realm="ebbtide", error="insufficient_scope", '
            f'scope="{scope}"'
        }


class ForeignPage(RequestError):
    """A page of another origin makes a browser ask."""


class WrongHost(RequestError):
    """The gateway is not called by this name."""


class NoSuchPath(RequestError):
    """Nothing is there."""


class TooManyTries(RequestError):
    """Too many wrong keys from one address."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"too many wrong keys came from this address: wait for {seconds} s")
        self.headers = {"Retry-After": str(seconds)}


class SessionsUnavailable(StoreUnavailable):
    """Redis does not say whether a login holds."""


class AuditUnavailable(StoreUnavailable):
    """Redis does not give the audit log."""


class UnknownAlert(RequestError):
    """No alert and no episode has this id."""


class UnknownDelivery(RequestError):
    """No delivery has this id."""


class CommandUnavailable(LogUnavailable):
    """Kafka did not acknowledge what was said of an alert."""


class AlertsUnavailable(LogUnavailable):
    """The alerts cannot be followed."""


class TooManyListeners(Unavailable):
    """Every place at the stream is taken."""


class NotReady(Unavailable):
    """A dependency the caller asked for does not answer."""

    def __init__(self, kafka: str, redis: str) -> None:
        super().__init__("Kafka does not answer, so events cannot be accepted")
        self.kafka = kafka
        self.redis = redis


_ANSWERS: Final[dict[type[ChurnError], tuple[int, str, str]]] = {
    Malformed: (400, "malformed", "What came is no text or no JSON"),
    NoKey: (401, "no-key", "A key is needed"),
    NotAllowed: (403, "not-allowed", "This key may not do that"),
    ForeignPage: (403, "foreign-page", "Another page's request is not taken"),
    NoSuchPath: (404, "no-such-path", "Not Found"),
    WrongHost: (421, "wrong-host", "The gateway is not called by this name"),
    TooManyTries: (429, "too-many-tries", "Too many wrong keys"),
    SessionsUnavailable: (503, "sessions-unavailable", "Logins cannot be checked now"),
    AuditUnavailable: (503, "audit-unavailable", "The audit log cannot be read now"),
    UnknownUser: (404, "unknown-user", "Nothing is known of this user"),
    UnknownDelivery: (404, "unknown-delivery", "No delivery has this id"),
    UnknownAlert: (404, "unknown-alert", "No alert has this id"),
    TooSlow: (408, "too-slow", "The body took too long to arrive"),
    TooLarge: (413, "too-large", "More than is taken at once"),
    WrongMediaType: (415, "not-json", "The body must be sent as JSON"),
    Invalid: (422, "invalid-input", "The request breaks a limit"),
    CommandUnavailable: (503, "commands-unavailable", "Nothing can be said of alerts now"),
    AlertsUnavailable: (503, "stream-unavailable", "Alerts cannot be followed now"),
    TooManyListeners: (503, "too-many-listeners", "Every place at the stream is taken"),
    LogUnavailable: (503, "events-unavailable", "Events cannot be accepted now"),
    StoreUnavailable: (503, "users-unavailable", "User records cannot be read now"),
    NotReady: (503, "not-ready", "Not ready for events"),
    Overloaded: (503, "overloaded", "More is asked for than can be done now"),
}


def install(app: FastAPI) -> None:
    """Let every error of `app` answer as a problem."""
    app.add_exception_handler(ChurnError, _on_churn_error)
    app.add_exception_handler(RequestValidationError, _on_parameters)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_bug)


def problem_of(error: Exception) -> Problem:
    """The problem an error of ours is told as; a bug's if the table does not know it."""
    for kind in type(error).__mro__:
        if kind in _ANSWERS:
            status, name, title = _ANSWERS[kind]
            return Problem(
                type=f"urn:ebbtide:problem:{name}",
                title=title,
                status=status,
                detail=str(error),
                errors=getattr(error, "errors", ()),
                acknowledged=getattr(error, "acknowledged", None),
                kafka=getattr(error, "kafka", None),
                redis=getattr(error, "redis", None),
            )
    return _BUG


_BUG: Final = Problem(
    type="about:blank",
    title="Internal Server Error",
    status=500,
    detail="The gateway made a mistake; its log has the details",
)

_encoder = msgspec.json.Encoder()


def answer(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """The response of a problem; one that may pass says when to come again."""
    fields = dict(headers or {})
    if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
        fields["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return Response(
        _encoder.encode(problem),
        status_code=problem.status,
        headers=fields,
        media_type=MEDIA_TYPE,
    )


async def _on_churn_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ChurnError)
    problem = problem_of(error)
    if problem is _BUG:
        logger.error("unmapped_error", exc_info=error)
    return answer(problem, headers_of(error))


def headers_of(error: ChurnError) -> Mapping[str, str]:
    """What the answer to an error says beside its body."""
    found: Mapping[str, str] = getattr(error, "headers", {})
    return found


async def _on_parameters(_: Request, error: Exception) -> Response:
    """A query or path parameter that does not fit, as FastAPI found it."""
    assert isinstance(error, RequestValidationError)
    errors = [
        FieldError(".".join(str(part) for part in found["loc"][1:]), _parameter_reason(found))
        for found in error.errors()
    ]
    return answer(problem_of(Invalid(errors)))


def _parameter_reason(found: Mapping[str, Any]) -> str:
    return f"{found['msg']}; got {found['input']!r}"


async def _on_http(request: Request, error: Exception) -> Response:
    """What the framework refuses: no such path, not this method."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    detail, headers = error.detail, error.headers
    if status == HTTPStatus.NOT_FOUND:
        detail = "There is nothing at this path; /docs lists what there is"
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = methods_of(request)
        headers = {"Allow": allowed}
        detail = f"This path takes {allowed}"
    problem = Problem(type="about:blank", title=status.phrase, status=status, detail=detail)
    return answer(problem, headers)


def methods_of(request: Request) -> str:
    """What the path takes, as `Allow` puts it: the framework names only one route's methods."""
    taken = [
        method
        for method in ("DELETE", "GET", "PATCH", "POST", "PUT")
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.routes
        )
    ]
    return ", ".join([*taken, *(["HEAD"] if "GET" in taken else [])])


async def _on_bug(_: Request, __: Exception) -> Response:
    # The server logs the exception, which passes on after this answer.
    return answer(_BUG)


def _told(error: FieldError) -> str:
    text = f"{error.field}: {error.reason}" if error.field else error.reason
    return text if error.index is None else f"event {error.index}: {error.reason}"
