"""The dashboard as the gateway serves it."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from ingest_api.app_assets import BUILT, HASHED, INDEX, assets

_LOADED = re.compile(r'(?:src|href)="([^"]*)"')


@pytest.mark.parametrize("path", ["", "at-risk", "user", "nowhere/in/particular"])
async def test_every_address_of_the_app_is_the_app(gateway, path):
    """
    A page is opened by its address, whichever it is; the app says if there is none such.
    """
    answer = await gateway.http.get(f"/app/{path}")

    assert 200 == answer.status_code
    assert "text/html; charset=utf-8" == answer.headers["content-type"]
    assert (BUILT / INDEX).read_bytes() == answer.content


async def test_what_the_page_loads_is_there_and_ours(gateway):
    """
    All that the page names is served from below /app/, and by names that hold a hash for ever.
    """
    page = (await gateway.http.get("/app/")).text
    loaded = _LOADED.findall(page)

    assert any(name.endswith(".js") for name in loaded)
    assert any(name.endswith(".css") for name in loaded)
    for name in loaded:
        assert name.startswith("/app/")
        answer = await gateway.http.get(name)
        assert 200 == answer.status_code
        hashed = name.startswith(f"/app/{HASHED}")
        assert hashed == ("immutable" in answer.headers["cache-control"])


async def test_nothing_inline_and_nothing_from_elsewhere(gateway):
    """
    The policy allows the page's own files only, and the page has no script or style of its own.
    """
    answer = await gateway.http.get("/app/")
    policy = answer.headers["content-security-policy"]

    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "nosniff" == answer.headers["x-content-type-options"]
    assert "<style" not in answer.text
    assert not re.search(r"<script(?![^>]*\bsrc=)", answer.text)
    assert not re.search(r"\s(?:style|on\w+)=", answer.text)


@pytest.mark.parametrize(
    "path", ["assets/none.js", "none.map", "%2e%2e/app.py", "..%2fapp.py", "assets/../../app.py"]
)
async def test_a_file_that_is_not_of_the_build_is_a_problem(gateway, path):
    """
    What names no file of the build is 404, and so is what lies beside it.
    """
    answer = await gateway.http.get(f"/app/{path}")

    assert 404 == answer.status_code
    assert "application/problem+json" == answer.headers["content-type"]


async def test_a_browser_that_has_it_is_told_so(gateway):
    """
    The same page again costs no bytes, and other bytes have another tag.
    """
    first = await gateway.http.get("/app/")
    again = await gateway.http.get("/app/", headers={"if-none-match": first.headers["etag"]})

    assert (304, b"") == (again.status_code, again.content)
    assert len({asset.headers["ETag"] for asset in assets(BUILT).values()}) == len(assets(BUILT))


async def test_it_is_packed_for_those_who_can_unpack(gateway):
    """
    With gzip where it is accepted, as it is where it is not: the same bytes.
    """
    plain = await gateway.http.get("/app/", headers={"accept-encoding": "identity"})
    packed = await gateway.http.get("/app/", headers={"accept-encoding": "br, gzip"})

    assert "content-encoding" not in plain.headers
    assert "gzip" == packed.headers["content-encoding"]
    assert plain.content == packed.content
    assert plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"


async def test_head_is_get_without_a_body(gateway):
    """
    HEAD answers as GET does.
    """
    answer = await gateway.http.request("HEAD", "/app/")

    assert (200, b"") == (answer.status_code, answer.content)


def test_a_folder_that_is_not_there_has_no_files(tmp_path: Path):
    """
    Without a build there are no assets, and that is no reason for a gateway not to start.
    """
    assert {} == assets(tmp_path / "none")


def test_packing_is_the_same_every_time():
    """
    What is packed unpacks to the file; two gateways send the same bytes.
    """
    for asset in assets(BUILT).values():
        if asset.packed is not None:
            assert asset.content == gzip.decompress(asset.packed)
            assert gzip.compress(asset.content, mtime=0) == asset.packed
