"""Signatures of webhooks: https://www.standardwebhooks.com, symmetric (v1)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence


def headers(
    message_id: str, at_seconds: int, body: bytes, secrets: Sequence[bytes]
) -> dict[str, str]:
    """Id, time of this attempt and one signature for each key, separated by spaces."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at_seconds),
        "webhook-signature": " ".join(
            f"v1,{signature(message_id, at_seconds, body, secret)}" for secret in secrets
        ),
    }


def signature(message_id: str, at_seconds: int, body: bytes, key: bytes) -> str:
    """base64 of HMAC-SHA256 over `id.timestamp.body`."""
    signed = f"{message_id}.{at_seconds}.".encode() + body
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
