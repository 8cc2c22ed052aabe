"""Deterministic ids: the same content always has the same id, so a repeat is known as one."""

from __future__ import annotations

import hashlib


def digest(*parts: str) -> str:
    """32 hex digits (BLAKE2b) of the parts, which must not contain NUL themselves."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()
