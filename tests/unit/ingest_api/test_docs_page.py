"""The documentation as a page."""

from __future__ import annotations

import base64
import hashlib
import re

from ingest_api.docs_page import render
from tests.unit.ingest_api.stand import Stand


async def test_it_names_every_operation_and_every_schema(gateway: Stand):
    """
    What the OpenAPI document has is on the page, and its links lead somewhere on it.
    """
    document = (await gateway.http.get("/openapi.json")).json()
    page = (await gateway.http.get("/docs")).text

    for path, operations in document["paths"].items():
        assert f"<code>{path}</code>" in page
        for operation in operations.values():
            assert re.sub(r"'", "&#x27;", operation["summary"]) in page
    ids = set(re.findall(r'id="([^"]+)"', page))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= ids
    assert len(document["components"]["schemas"]) == sum(name.startswith("schema-") for name in ids)


async def test_it_loads_nothing_and_runs_nothing(gateway: Stand):
    """
    No script, no frame, no picture, no file; its one style is the one that the policy allows.
    """
    answer = await gateway.http.get("/docs")
    [style] = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()

    assert "text/html; charset=utf-8" == answer.headers["content-type"]
    assert f"style-src 'sha256-{digest}'" in answer.headers["content-security-policy"]
    active = r"<(script|link|img|iframe|form|object)|\son\w+=|\ssrc=|\sstyle="
    assert not re.search(active, answer.text)
    assert {"/openapi.json", "/app/"} == set(re.findall(r'href="(/[^"]*)"', answer.text))


def test_words_of_the_document_are_no_markup():
    """
    A description with angle brackets is read as it was written.
    """
    told = {"description": "<b>&</b> `<i>`", "content": {}}
    page = render(
        {
            "info": {"title": "<x>", "version": "1"},
            "paths": {"/<a>": {"get": {"summary": "<s>", "responses": {"200": told}}}},
            "components": {"schemas": {"<T>": {"properties": {"<f>": {"enum": ["<v>"]}}}}},
        }
    )

    assert "&lt;b&gt;&amp;&lt;/b&gt; <code>&lt;i&gt;</code>" in page
    for mark in ("<x>", "<a>", "<s>", "<T>", "<f>", "<v>", "<b>&"):
        assert mark not in page
