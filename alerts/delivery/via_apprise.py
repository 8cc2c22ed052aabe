"""Whatever Apprise speaks. It blocks, so it runs in a thread.

The guard checks the host of a service whose URL names one (`mailto://`, `json://`, `mmost://`).
Apprise resolves the name again by itself, so unlike with webhooks the address is not pinned.
Services with a fixed host need no check. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from alerts.delivery.address import Forbidden, Resolve, Unresolved, checked, resolve
from alerts.delivery.messages import Message
from alerts.delivery.outcome import Delivered, Later, Never, Outcome

_LOCAL_PORT = 443
"""Only for resolving: the port does not change the addresses of a name."""


async def send(
    url: str,
    message: Message,
    *,
    timeout_seconds: float,
    allow_private: bool,
    resolving: Resolve = resolve,
) -> Outcome:
    """Hand a message to the service `url` names."""
    service = await asyncio.to_thread(_service, url, timeout_seconds)
    if service is None:
        return Never("Apprise cannot read the channel's URL")
    try:
        for host in hosts(service):
            await checked(host, _LOCAL_PORT, allow_private=allow_private, resolving=resolving)
        async with asyncio.timeout(timeout_seconds):
            accepted = await asyncio.to_thread(_notify, service, message)
    except Forbidden as refusal:
        return Never(str(refusal))
    except Unresolved as trouble:
        return Later(str(trouble))
    except TimeoutError:
        return Later(f"no answer within {timeout_seconds:g} s")
    return Delivered() if accepted else Later(f"{service.service_name} did not accept it")


def hosts(service: Any) -> list[str]:
    """The host names a service's URL gives; none where its host is fixed.

    Where a URL has no host, Apprise's field of that name holds a token: that is not for a resolver.
    """
    if not any("{host}" in template for template in service.templates):
        return []
    named = [service.host, getattr(service, "smtp_host", None)]
    return list(dict.fromkeys(host for host in named if host))


def _service(url: str, timeout_seconds: float) -> Any:
    import apprise  # noqa: PLC0415 - heavy, and most policies do without

    # It says more than we may: addresses, and what services answer.
    logging.getLogger("apprise").setLevel(logging.CRITICAL)
    asset = apprise.AppriseAsset(app_id="Ebbtide", http_redirects=False)
    service = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    if service is not None:
        service.socket_connect_timeout = min(service.socket_connect_timeout, timeout_seconds)
        service.socket_read_timeout = min(service.socket_read_timeout, timeout_seconds)
    return service


def _notify(service: Any, message: Message) -> bool:
    import apprise  # noqa: PLC0415

    formats = service.notify_format
    wants_html = apprise.NotifyFormat.HTML in (
        formats[:1] if isinstance(formats, tuple) else (formats,)
    )
    told = apprise.Apprise()
    told.add(service)
    return bool(
        told.notify(
            title=message.title,
            body=message.html if wants_html else message.text,
            body_format=apprise.NotifyFormat.HTML if wants_html else apprise.NotifyFormat.TEXT,
        )
    )
