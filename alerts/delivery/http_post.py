"""One guarded POST: to a checked address, without redirects, within a time, and what came of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

import httpx2

from alerts.delivery.address import Forbidden, Resolve, Unresolved, checked, resolve
from alerts.delivery.outcome import Delivered, Gone, Later, Never, Outcome
from contracts.times import SECOND_MS, to_ms

GONE: Final = 410
AGAIN: Final = frozenset({408, 425, 429})
"""Client errors that are about the moment."""
TOLD_BYTES: Final = 200
"""Of a refusal's body, for the log."""


def new_client() -> httpx2.AsyncClient:
    """A client for `post`.

    It keeps no connection: one to a checked address was verified for one host name, and must not
    serve another that lies at the same address. Proxies of the environment are not used, as they
    would resolve names themselves. The library's own log lines are turned off, as they hold URLs,
    and a Slack URL is a secret.
    """
    for name in ("httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return httpx2.AsyncClient(
        verify=httpx2.create_ssl_context(),  # which does read SSL_CERT_FILE
        trust_env=False,
        follow_redirects=False,
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
    )


async def post(
    client: httpx2.AsyncClient,
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    timeout_seconds: float,
    allow_private: bool,
    now_ms: int,
    resolving: Resolve = resolve,
) -> Outcome:
    """POST JSON to `url`. now_ms: for a Retry-After that is a date."""
    try:
        async with asyncio.timeout(timeout_seconds):
            return await _post(
                client,
                httpx2.URL(url),
                body,
                headers,
                allow_private=allow_private,
                now_ms=now_ms,
                resolving=resolving,
            )
    except TimeoutError:
        return Later(f"no answer within {timeout_seconds:g} s")
    except Forbidden as refusal:
        return Never(str(refusal))
    except Unresolved as trouble:
        return Later(str(trouble))
    except httpx2.InvalidURL:
        return Never("the URL is none")
    except httpx2.HTTPError as error:
        # Its words may hold the URL, which may hold a secret.
        return Later(f"the connection failed: {type(_root(error)).__name__}")


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__ or error
    return error


async def _post(
    client: httpx2.AsyncClient,
    url: httpx2.URL,
    body: bytes,
    headers: Mapping[str, str],
    *,
    allow_private: bool,
    now_ms: int,
    resolving: Resolve,
) -> Outcome:
    port = url.port or (443 if url.scheme == "https" else 80)
    addresses = await checked(url.host, port, allow_private=allow_private, resolving=resolving)
    for last, address in ((at == len(addresses) - 1, a) for at, a in enumerate(addresses)):
        request = client.build_request(
            "POST",
            url.copy_with(host=address),
            content=body,
            headers={"content-type": "application/json", **headers, "host": _host_header(url)},
            timeout=None,  # one for all of it, around the call
            extensions={"sni_hostname": url.host},
        )
        try:
            response = await client.send(request, stream=True)
        except httpx2.ConnectError:
            if last:
                raise
            continue
        try:
            return await _outcome(response, now_ms)
        finally:
            await response.aclose()
    raise Unresolved(f"{url.host} has no address")


def _host_header(url: httpx2.URL) -> str:
    return url.netloc.decode("ascii").rpartition("@")[2]


async def _outcome(response: httpx2.Response, now_ms: int) -> Outcome:
    status = response.status_code
    if 200 <= status < 300:
        return Delivered()
    told = "" if 300 <= status < 400 else await _beginning(response)
    reason = f"HTTP {status}" + (f": {told}" if told else "")
    if status == GONE:
        return Gone(f"{reason}; the receiver wants nothing any more")
    if status >= 500 or status in AGAIN:
        return Later(reason, retry_after_ms(response.headers.get("retry-after"), now_ms))
    if 300 <= status < 400:
        return Never(f"{reason}: redirects are not followed; set the final address")
    return Never(reason)


async def _beginning(response: httpx2.Response) -> str:
    told = b""
    async for part in response.aiter_raw():
        told += part[:TOLD_BYTES]
        if len(told) >= TOLD_BYTES:
            break
    text = told[:TOLD_BYTES].decode(errors="replace")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def retry_after_ms(header: str | None, now_ms: int) -> int | None:
    """Milliseconds of a Retry-After header, seconds or a date; None when it says nothing."""
    if header is None:
        return None
    if header.strip().isascii() and header.strip().isdigit():
        return int(header.strip()[:9]) * SECOND_MS
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return max(to_ms(aware) - now_ms, 0)
