"""`/docs`: the OpenAPI document as a page to read, without a script or anything of another host."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from html import escape
from typing import Any, Final

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response

_METHODS: Final = ("get", "post", "put", "patch", "delete")
_NOT_A_WORD: Final = re.compile(r"[^a-z0-9]+")
_CODE: Final = re.compile(r"`([^`]+)`")

_STYLE: Final = """
:root {
  color-scheme: light dark;
  --ink: light-dark(#16222b, #e4ecf0);
  --soft: light-dark(#4d5f6b, #a3b4bf);
  --line: light-dark(#d8e0e5, #2c3a44);
  --ground: light-dark(#fff, #10191f);
  --sunken: light-dark(#f2f6f8, #18242c);
  --accent: light-dark(#0a6178, #6cc5dc);
}
* { box-sizing: border-box; }
body {
  margin: 0 auto;
  max-width: 1080px;
  padding: 24px 20px 64px;
  background: var(--ground);
  color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif;
}
h1 { margin: 0; }
h2 { margin: 40px 0 8px; text-transform: capitalize; }
h3 { margin: 16px 0 4px; font-size: 1rem; }
p { margin: 6px 0; }
a { color: var(--accent); }
code, pre { font: 0.88em/1.5 ui-monospace, monospace; overflow-wrap: anywhere; }
pre {
  margin: 4px 0;
  padding: 10px 12px;
  background: var(--sunken);
  border-radius: 8px;
  white-space: pre-wrap;
}
details { border: 1px solid var(--line); border-radius: 8px; margin: 8px 0; }
summary { cursor: pointer; padding: 10px 12px; }
summary b { display: inline-block; min-width: 4.2em; color: var(--accent); }
summary span { color: var(--soft); }
.in { padding: 0 14px 12px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.93em; }
th, td {
  padding: 5px 12px 5px 0;
  text-align: left;
  vertical-align: top;
  border-top: 1px solid var(--line);
}
th { font-weight: 600; }
"""

POLICY: Final = (
    "default-src 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def router(document: Callable[[], dict[str, Any]]) -> APIRouter:
    """The route over the document, which is asked for once."""
    routes = APIRouter()
    page = cache(lambda: render(document()))

    @routes.get("/docs", include_in_schema=False)
    async def get_docs() -> Response:
        headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}
        return HTMLResponse(page(), headers=headers)

    return routes


def render(document: Mapping[str, Any]) -> str:
    """The document as HTML."""
    info = document["info"]
    by_tag: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method in _METHODS:
            if method in operations:
                operation = operations[method]
                tag = (operation.get("tags") or ["other"])[0]
                by_tag.setdefault(tag, []).append(_operation(path, method, operation))
    schemas = document.get("components", {}).get("schemas", {})
    contents = " · ".join(
        f'<a href="#{_anchor(tag)}">{escape(tag)}</a>' for tag in [*by_tag, "schemas"]
    )
    return "".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(info['title'])}: the HTTP interface</title>",
            f"<style>{_STYLE}</style></head><body>",
            f"<header><h1>{escape(info['title'])} {escape(info['version'])}</h1>",
            _text(info.get("description", "")),
            '<p>For programs: <a href="/openapi.json">the OpenAPI document</a>. '
            'For people: <a href="/app/">the dashboard</a>.</p>',
            _text(
                "Where keys are needed, send yours as `Authorization: Bearer ebb_...`; each "
                "operation names the scope it takes."
            ),
            f'<nav aria-label="Contents"><p>{contents}</p></nav></header><main>',
            *(
                f'<section><h2 id="{_anchor(tag)}">{escape(tag)}</h2>{"".join(told)}</section>'
                for tag, told in by_tag.items()
            ),
            '<section><h2 id="schemas">schemas</h2>',
            *(_schema(name, schema) for name, schema in schemas.items()),
            "</section></main></body></html>",
        ]
    )


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> str:
    parts = [
        f"<details><summary><b>{method.upper()}</b> <code>{escape(path)}</code> "
        f"<span>{escape(operation.get('summary', ''))}</span></summary>",
        f'<div class="in">{_text(operation.get("description", ""))}',
    ]
    parameters = operation.get("parameters", ())
    if parameters:
        rows = [
            (
                f"<code>{escape(each['name'])}</code>",
                escape(each["in"]) + (", required" if each.get("required") else ""),
                _kind(each.get("schema", {})),
                _inline(each.get("description", "")),
            )
            for each in parameters
        ]
        parts += ["<h3>Parameters</h3>", _table(("name", "in", "type", "meaning"), rows)]
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    example = None if content is None else content.get("example")
    if content is not None:
        parts.append(f"<h3>Body</h3><p>{_kind(content.get('schema', {}))}</p>")
    parts.append(f"<h3>Try it</h3><pre>{escape(_curl(path, method, operation, example))}</pre>")
    answers = [
        (escape(status), _inline(told.get("description", "")), _answer(told))
        for status, told in operation.get("responses", {}).items()
    ]
    parts += [
        "<h3>Answers</h3>",
        _table(("status", "meaning", "body"), answers),
        "</div></details>",
    ]
    return "".join(parts)


def _answer(told: Mapping[str, Any]) -> str:
    shown = []
    for media_type, content in told.get("content", {}).items():
        kind = _kind(content.get("schema", {}))
        shown.append(f"{kind} <code>{escape(media_type)}</code>")
    return "<br>".join(shown)


def _curl(path: str, method: str, operation: Mapping[str, Any], example: object) -> str:
    required = [each["name"] for each in operation.get("parameters", ()) if each.get("required")]
    for name in required:
        path = path.replace(f"{{{name}}}", name.upper())
    words = ["curl -s"] + ([] if method == "get" else [f"-X {method.upper()}"])
    words.append(f"http://127.0.0.1:8000{path}")
    if example is not None:
        words.append(f"-H 'content-type: application/json' -d '{json.dumps(example)}'")
    return " ".join(words)


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    rows = [
        (
            f"<code>{escape(field)}</code>",
            _kind(kind),
            "" if field in schema.get("required", ()) else "optional",
            _inline(kind.get("description", "")),
        )
        for field, kind in schema.get("properties", {}).items()
    ]
    inside = _table(("field", "type", "", "meaning"), rows) if rows else f"<p>{_kind(schema)}</p>"
    return (
        f'<details id="{_anchor("schema " + name)}"><summary><code>{escape(name)}</code></summary>'
        f'<div class="in">{_text(schema.get("description", ""))}{inside}</div></details>'
    )


def _kind(schema: Mapping[str, Any]) -> str:
    """A type in a few words, with links to what it is made of."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#{_anchor("schema " + name)}">{escape(name)}</a>'
    for word in ("anyOf", "oneOf", "allOf"):
        if word in schema:
            return " or ".join(_kind(each) for each in schema[word])
    if "enum" in schema:
        return " | ".join(escape(json.dumps(value)) for value in schema["enum"])
    if "const" in schema:
        return escape(json.dumps(schema["const"]))
    kind = schema.get("type", "anything")
    if kind == "array":
        # `items: false` ends a list of fixed places.
        items = schema.get("items") or {"anyOf": schema.get("prefixItems", [{}])}
        return f"list of {_kind(items)}"
    limits = [
        f"{words} {schema[name]}"
        for name, words in (
            ("minimum", "at least"), ("maximum", "at most"), ("exclusiveMinimum", "above"),
            ("exclusiveMaximum", "below"), ("minLength", "from"), ("maxLength", "up to"),
        )
        if name in schema
    ]  # fmt: skip
    named = escape(" or ".join(kind) if isinstance(kind, list) else str(kind))
    form = f" ({escape(schema['format'])})" if "format" in schema else ""
    return f"{named}{form}" + (f", {escape(', '.join(limits))}" if limits else "")


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """heads are text, cells are HTML."""
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="wide">{table}</div>'


def _text(words: str) -> str:
    """Paragraphs."""
    return "".join(f"<p>{_inline(part)}</p>" for part in words.split("\n\n") if part.strip())


def _inline(words: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(words))


def _anchor(words: str) -> str:
    return _NOT_A_WORD.sub("-", words.lower())
