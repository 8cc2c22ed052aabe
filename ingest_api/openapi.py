"""The OpenAPI document: schemas come from the types that decode and encode, not from a copy."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.responses import Response

from ingest_api.access import LOOKING, row_of
from ingest_api.problems import MEDIA_TYPE, RETRY_AFTER_SECONDS, Problem

_REF: Final = "#/components/schemas/{name}"

_PROBLEMS: Final[Mapping[int, str]] = {
    400: "The path or the body is no text, or the body no JSON.",
    401: "No key came along, or one that is unknown or has expired.",
    403: "The key may not do that, or a page of another origin asks.",
    404: "Nothing is known of whom or what the path names.",
    408: "The body took too long to arrive.",
    413: "More than is taken at once.",
    415: "The body was not sent as application/json, or not as it is (content-encoding).",
    422: "Something breaks a limit; `errors` names the fields and what would fit.",
    421: "The gateway is not called by the name in `Host`.",
    429: "Too many wrong keys came from one address.",
    503: "A dependency does not answer, or more is asked for than can be done: come again after "
    "`Retry-After` seconds.",
}

_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Described:
    """A response body: its type, what it means, an example, headers."""

    kind: type[msgspec.Struct]
    description: str
    example: object = None
    headers: Mapping[str, str] | None = None


def of(
    kind: type[msgspec.Struct],
    description: str,
    example: object = None,
    headers: Mapping[str, str] | None = None,
) -> Described:
    """Describe a response; `headers` are names with their meaning."""
    return Described(kind, description, example, headers)


def reply(
    value: msgspec.Struct, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """The value as JSON."""
    return Response(
        _encoder.encode(value), status_code=status, headers=headers, media_type="application/json"
    )


def body(
    kind: type[msgspec.Struct],
    *,
    example: object,
    or_list_of: type[msgspec.Struct] | None = None,
    at_most: int = 0,
) -> dict[str, Any]:
    """What `openapi_extra` says of a request body."""
    schema: dict[str, Any] = _Reference(kind)
    if or_list_of is not None:
        many = {"type": "array", "minItems": 1, "maxItems": at_most, "items": schema}
        schema = {"oneOf": [schema, many]}
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schema, "example": example}},
        }
    }


def responses(good: Mapping[int, Described], *problems: int) -> dict[int | str, dict[str, Any]]:
    """What `responses` says: the good ones, and which problems may come instead."""
    told: dict[int | str, dict[str, Any]] = {}
    for status, described in good.items():
        content: dict[str, Any] = {"schema": _Reference(described.kind)}
        if described.example is not None:
            content["example"] = described.example
        told[status] = {
            "description": described.description,
            "content": {"application/json": content},
        }
        if described.headers:
            told[status]["headers"] = {
                name: {"description": meaning, "schema": {"type": "string"}}
                for name, meaning in described.headers.items()
            }
    for status in problems:
        told[status] = {
            "description": _PROBLEMS[status],
            "content": {MEDIA_TYPE: {"schema": _Reference(Problem), "example": _example(status)}},
        }
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            told[status]["headers"] = {
                "Retry-After": {
                    "description": f"Seconds to wait, at present {RETRY_AFTER_SECONDS}.",
                    "schema": {"type": "integer"},
                }
            }
    return told


def install(app: FastAPI, *, needs_key: bool) -> None:
    """Complete the document FastAPI makes of the routes: the schemas they refer to, who may ask."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
            )
            _tell_access(made, needs_key=needs_key)
            made.setdefault("components", {})["schemas"] = components(_referred(made))
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _tell_access(document: dict[str, Any], *, needs_key: bool) -> None:
    """Add to every operation which scope it takes, and what who has none is told."""
    if needs_key:
        document.setdefault("components", {})["securitySchemes"] = {
            "key": {
                "type": "http",
                "scheme": "bearer",
                "description": "A key of `ebbtide keys new`. The dashboard's login is a cookie "
                "that stands for one.",
            }
        }
    for path, operations in document["paths"].items():
        row = row_of(path)
        for method, operation in operations.items():
            looks = method.upper() in LOOKING
            scope = None if row is None else row.look if looks else row.change
            told = [421] if scope is None else [401, 403, 421]
            if scope is None and not looks:
                told.append(403)
            for status in told:
                operation["responses"].setdefault(str(status), responses({}, status)[status])
            if scope is not None:
                said = operation.get("description", "")
                note = f"With keys, takes the scope `{scope}`."
                operation["description"] = f"{said}\n\n{note}" if said else note
                if needs_key:
                    operation["security"] = [{"key": []}]


def components(kinds: list[type[msgspec.Struct]]) -> dict[str, Any]:
    """The JSON Schemas of the types and of all they refer to, by name."""
    _, schemas = msgspec.json.schema_components(kinds, ref_template=_REF)
    for schema in schemas.values():
        if "description" in schema:
            schema["description"] = inspect.cleandoc(schema["description"])
    return schemas


_KINDS: Final[dict[str, type[msgspec.Struct]]] = {}


def _Reference(kind: type[msgspec.Struct]) -> dict[str, Any]:  # noqa: N802 - reads as a value
    """A reference to the schema of `kind`, remembered so that the document has it."""
    _KINDS[kind.__name__] = kind
    return {"$ref": _REF.format(name=kind.__name__)}


def _referred(document: object) -> list[type[msgspec.Struct]]:
    """The types the document refers to, in the order of their names."""
    found: set[str] = set()

    def walk(part: object) -> None:
        if isinstance(part, dict):
            reference = part.get("$ref")
            if isinstance(reference, str):
                found.add(reference.rpartition("/")[2])
            for child in part.values():
                walk(child)
        elif isinstance(part, list):
            for child in part:
                walk(child)

    walk({"paths": document["paths"]} if isinstance(document, dict) else document)
    return [_KINDS[name] for name in sorted(found)]


def _example(status: int) -> dict[str, object]:
    examples: dict[int, dict[str, object]] = {
        422: {
            "type": "urn:ebbtide:problem:invalid-input",
            "title": "The request breaks a limit",
            "status": 422,
            "detail": "time_spent: must be a number from 0 to 50000000; got -1",
            "errors": [
                {"field": "time_spent", "reason": "must be a number from 0 to 50000000; got -1"}
            ],
        },
        503: {
            "type": "urn:ebbtide:problem:events-unavailable",
            "title": "Events cannot be accepted now",
            "status": 503,
            "detail": "Kafka acknowledged 0 of 2: no acknowledgement within 5 s",
        },
    }
    return examples.get(
        status,
        {
            "type": "urn:ebbtide:problem:...",
            "title": _PROBLEMS[status],
            "status": status,
            "detail": "...",
        },
    )
