"""From a row and its channel to an attempt: composes, signs, sends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import httpx2
import msgspec
from pydantic import SecretStr

from alerts.delivery import http_post, via_apprise, webhook
from alerts.delivery.address import Resolve, resolve
from alerts.delivery.channels_config import (
    AppriseChannel,
    Channel,
    SlackChannel,
    resolved,
    secret_bytes,
)
from alerts.delivery.messages import Message, compose
from alerts.delivery.outcome import Later, Never, Outcome
from contracts.deliveries import Row
from contracts.errors import Misconfigured
from contracts.times import SECOND_MS


class Sender(Protocol):
    """Makes one attempt."""

    async def send(self, channel: Channel, row: Row, now_ms: int) -> Outcome:
        """What came of it; raises nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Senders:
    """The Sender that really sends."""

    client: httpx2.AsyncClient
    public_url: str
    environment: Mapping[str, str]
    resolving: Resolve = resolve

    async def send(self, channel: Channel, row: Row, now_ms: int) -> Outcome:
        try:
            message = compose(row, self.public_url)
        except msgspec.MsgspecError as error:
            return Never(f"the stored message cannot be read: {error}")
        try:
            url = resolved(channel.url, self.environment)
            if isinstance(channel, AppriseChannel):
                return await via_apprise.send(
                    url,
                    message,
                    timeout_seconds=channel.timeout_seconds,
                    allow_private=channel.allow_private,
                    resolving=self.resolving,
                )
            if isinstance(channel, SlackChannel):
                return await self._post(channel, url, message.slack(), {}, now_ms)
            return await self._signed(channel.secrets, channel, url, message, now_ms)
        except Misconfigured as missing:
            # A person will set it; nothing is lost meanwhile.
            return Later(str(missing))

    async def _signed(
        self,
        secrets: tuple[SecretStr, ...],
        channel: Channel,
        url: str,
        message: Message,
        now_ms: int,
    ) -> Outcome:
        try:
            keys = [secret_bytes(resolved(secret, self.environment)) for secret in secrets]
        except ValueError as error:
            return Later(str(error))
        body = message.json()
        headers = webhook.headers(message.message_id, now_ms // SECOND_MS, body, keys)
        return await self._post(channel, url, body, headers, now_ms)

    async def _post(
        self, channel: Channel, url: str, body: bytes, headers: Mapping[str, str], now_ms: int
    ) -> Outcome:
        return await http_post.post(
            self.client,
            url,
            body,
            {"user-agent": "Ebbtide", **headers},
            timeout_seconds=channel.timeout_seconds,
            allow_private=channel.allow_private,
            now_ms=now_ms,
            resolving=self.resolving,
        )
