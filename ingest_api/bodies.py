"""JSON bodies, read within a limit, and what is said of them when they do not fit."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any, Final, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from ingest_api.problems import FieldError, Invalid, Malformed, TooLarge, TooSlow, WrongMediaType

SHOWN_CHARACTERS: Final = 40
BODY_SECONDS: Final = 30.0
"""How long a body may take to arrive: a client that never ends must not hold us for ever."""

Body = TypeVar("Body", bound=msgspec.Struct)


async def read(request: Request, limit: int) -> bytes:
    """The body, if it says it is JSON and has at most `limit` bytes.

    A body that announces more is refused unread, one that turns out longer at the limit. Raises
    WrongMediaType, TooLarge, TooSlow, and Malformed when the client leaves before its end. Asking
    for the media type keeps web pages of others from posting here through a visitor's browser: a
    simple form cannot say application/json.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise WrongMediaType("send the header content-type: application/json")
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        raise WrongMediaType(f"send the body as it is, without content-encoding: {coding[:40]}")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise TooLarge(f"the body has {announced} bytes; at most {limit} are taken")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise TooLarge(f"the body has more than {limit} bytes")
    except TimeoutError:
        raise TooSlow(f"the body did not end within {BODY_SECONDS:.0f} s") from None
    except ClientDisconnect:
        # Nobody hears this; but it is no fault of ours and must not be logged and counted as one.
        raise Malformed("not JSON: the connection ended before the body did") from None
    return bytes(body)


def decode(kind: type[Body], body: bytes) -> Body:
    """The body as a `kind`; raises Malformed, or Invalid naming every field that does not fit."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        value = lenient(body)
        if not isinstance(error, msgspec.ValidationError) and not_finite(value) is None:
            raise malformed(error) from None
        errors = field_errors(kind, value) or [FieldError("", str(error))]
        raise Invalid(errors) from None


def malformed(error: Exception) -> Malformed:
    """What to raise for a body that no JSON parser takes."""
    return Malformed(f"not JSON: {error}".replace("JSON is malformed: ", ""))


def lenient(body: bytes) -> Any:
    """The body with NaN and Infinity, which JSON does not have but many clients write.

    For saying which field holds one. Raises Malformed when it is no JSON even so.
    """
    try:
        value = json.loads(body)
        # Half a surrogate pair ("\ud800") is no text: what quotes it could not be sent.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise malformed(error) from None
    return value


def not_finite(value: Any, path: str = "") -> FieldError | None:
    """The first number in `value` that is none, under its path."""
    if isinstance(value, float) and not math.isfinite(value):
        return FieldError(path, f"must be a finite number, got {shown(value)}: leave it out")
    if isinstance(value, dict):
        children = [(f"{path}.{name}".lstrip("."), child) for name, child in value.items()]
    elif isinstance(value, list):
        children = [(f"{path}[{index}]", child) for index, child in enumerate(value)]
    else:
        return None
    found = (not_finite(child, child_path) for child_path, child in children)
    return next((error for error in found if error is not None), None)


def shown(value: Any) -> str:
    """The value as the client may recognise it, shortened."""
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def field_errors(kind: type[msgspec.Struct], value: Any, path: str = "") -> list[FieldError]:
    """Everything about `value` that keeps it from being a `kind`, each field with the fix."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    if not isinstance(value, dict):
        return [FieldError(path, f"must be an object with {', '.join(fields)}; got {shown(value)}")]
    prefix = f"{path}." if path else ""
    errors = []
    for name, field in fields.items():
        if name not in value:
            if field.required:
                errors.append(FieldError(prefix + name, f"required: {expected(field.type)}"))
            continue
        stated = value[name]
        try:
            # NaN lies in no range, and every number here has one.
            msgspec.convert(stated, field.type, strict=True)
        except msgspec.ValidationError:
            reason = f"must be {expected(field.type)}; got {shown(stated)}{_hint(stated)}"
            errors.append(FieldError(prefix + name, reason))
    errors += [
        FieldError(prefix + name, f"not a field of this request: remove it ({', '.join(fields)})")
        for name in value
        if name not in fields
    ]
    return errors


def expected(kind: Any) -> str:
    """What a field takes, in words."""
    match msgspec.inspect.type_info(kind):
        case msgspec.inspect.UnionType(types):
            return " or ".join(_in_words(part) for part in types)
        case other:
            return _in_words(other)


def _in_words(kind: msgspec.inspect.Type) -> str:
    words = "another type"
    match kind:
        case msgspec.inspect.Metadata(type=described):
            words = _in_words(described)
        case msgspec.inspect.IntType(ge=low, le=high):
            words = f"a whole number from {low} to {high}"
        case msgspec.inspect.FloatType(ge=low, le=high):
            words = f"a number from {low:g} to {high:.0f}"
        case msgspec.inspect.BoolType():
            words = "true or false"
        case msgspec.inspect.StrType(pattern=str(pattern)):
            words = f"a text that matches {pattern}"
        case msgspec.inspect.StrType(min_length=None, max_length=high):
            words = f"a text of at most {high} characters"
        case msgspec.inspect.VarTupleType(each, min_length=low, max_length=high):
            words = f"a list of {low} to {high}, each of them {_in_words(each)}"
        case msgspec.inspect.StrType(min_length=low, max_length=high):
            words = f"a text of {low} to {high} characters"
        case msgspec.inspect.LiteralType(values):
            words = " or ".join(map(str, values))
        case msgspec.inspect.DateTimeType():
            words = "a time with a zone, as in 2026-01-31T09:00:00Z"
        case msgspec.inspect.NoneType():
            words = "null"
    return words


def _hint(value: Any) -> str:
    if isinstance(value, str):
        try:
            json.loads(value)
        except (ValueError, RecursionError):
            return ""
        return ": remove the quotes"
    return ""
