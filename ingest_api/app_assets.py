"""`/app/`: the dashboard, as its build left it in `web/` (source: `dashboard/`)."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

BUILT: Final = Path(__file__).with_name("web")
INDEX: Final = "index.html"
HASHED: Final = "assets/"
"""Below it a name holds a hash of the content, so what has the name never changes."""

_FOR_EVER: Final = "public, max-age=31536000, immutable"
_ASK_AGAIN: Final = "no-cache"

# Nothing inline and nothing from elsewhere: a user's id can never become a script.
POLICY: Final = "; ".join(
    (
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:",
        "connect-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
    )
)  # fmt: skip

_GUARDS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Vary": "Accept-Encoding",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of the build."""

    content: bytes
    packed: bytes | None
    """With gzip; None where that saves nothing."""
    headers: Mapping[str, str]


@cache
def assets(folder: Path) -> Mapping[str, Asset]:
    """The files below `folder` by their names relative to it; none if there is no such folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _asset(path, folder) for path in files}


def router(*, folder: Path = BUILT) -> APIRouter:
    """The routes over a build. Every address below /app/ that names no file is the app's."""
    routes = APIRouter()
    files = assets(folder)

    @routes.get("/app/{path:path}", include_in_schema=False)
    async def get_app(request: Request, path: str) -> Response:
        asset = files.get(path)
        if asset is None and "." not in path:
            asset = files.get(INDEX)
        if asset is None:
            raise HTTPException(404, f"/app/{path} is no part of the dashboard")
        if request.headers.get("if-none-match") == asset.headers["ETag"]:
            return Response(status_code=304, headers=asset.headers)
        if asset.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
            return Response(asset.packed, headers={**asset.headers, "Content-Encoding": "gzip"})
        return Response(asset.content, headers=asset.headers)

    return routes


def _asset(path: Path, folder: Path) -> Asset:
    content = path.read_bytes()
    packed = gzip.compress(content, mtime=0)
    name = path.relative_to(folder).as_posix()
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Asset(
        content=content,
        packed=packed if len(packed) < len(content) else None,
        headers={
            **_GUARDS,
            "Content-Type": kind if kind.startswith("image/") else f"{kind}; charset=utf-8",
            "Cache-Control": _FOR_EVER if name.startswith(HASHED) else _ASK_AGAIN,
            "ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"',
        },
    )
