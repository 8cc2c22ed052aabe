"""API keys: how they look, the file that knows them by their digests, and who holds one.

A key is 32 random bytes, so its SHA-256 cannot be turned back by guessing: what bcrypt and its like
slow down, trying likely passwords, has nothing to try here, and would cost every request some
milliseconds. Keys are found by their digest in a dictionary: whoever measures how long that takes
learns of digests, which they cannot steer, and nothing of keys.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Final

import structlog
import yaml

from contracts.errors import Misconfigured
from contracts.times import to_ms
from ingest_api.access import Scope
from ingest_api.background import beside

logger = structlog.get_logger(__name__)

CHECK_SECONDS: Final = 2.0
"""How often the file is looked at, and so how long a key that was taken out is still good."""
MAX_BYTES: Final = 1 << 20
PREFIX: Final = "ebb_"
"""So that tools that look for secrets in repositories and logs can find one."""
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@+-]{0,63}")

_FIELDS: Final = {"name", "scopes", "sha256", "expires"}
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of a key: not the key."""

    name: str
    scopes: frozenset[Scope]
    sha256: bytes
    expires_at: int | None = None
    """Epoch ms: good until then."""

    def is_good(self, now_ms: int) -> bool:
        """Whether it has not expired."""
        return self.expires_at is None or now_ms < self.expires_at


class KeyRing:
    """The keys of a file."""

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        self._by_digest = {key.sha256: key for key in keys}

    def __len__(self) -> int:
        return len(self._by_digest)

    def __iter__(self) -> Iterator[ApiKey]:
        return iter(self._by_digest.values())

    def holder_of(self, key: bytes, now_ms: int) -> ApiKey | None:
        """The key that was presented; None for one that is unknown or has expired."""
        return self.known(hashlib.sha256(key).digest(), now_ms)

    def known(self, digest: bytes, now_ms: int) -> ApiKey | None:
        """The key of this digest; None for one that is unknown or has expired."""
        found = self._by_digest.get(digest)
        return found if found is not None and found.is_good(now_ms) else None


class KeysFile:
    """The keys in force: those of a file that may change while the gateway runs.

    A file that cannot be read leaves the keys before it in force, and says so.
    """

    def __init__(self, path: Path) -> None:
        """Raises Misconfigured when the file is of no use to begin with, or holds no key."""
        self._path = path
        self._stamp = _stamp(path)
        self.ring = read(path)
        """The keys in force."""
        if not len(self.ring):
            raise Misconfigured(
                f"{path} (EBBTIDE_API_KEYS_FILE) holds no key, so nobody could ask for anything: "
                f"`ebbtide keys new --name admin --scopes write,read,operate --file {path}`"
            )

    async def watch(self) -> None:
        """Look at the file now and then, until cancelled."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            if _stamp(self._path) != self._stamp:
                await beside(self.look)

    def look(self) -> None:
        """Read the file again if it has changed."""
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self.ring = read(self._path)
        except Misconfigured as error:
            logger.error("keys_not_taken", reason=str(error))
            return
        logger.info("keys_in_force", keys=sorted(key.name for key in self.ring))


def new_key() -> str:
    """A key nobody has."""
    return PREFIX + secrets.token_urlsafe(32)


def digest(key: str) -> str:
    """What the file holds of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def line(name: str, scopes: Iterable[Scope], sha256: str, expires: datetime | None) -> str:
    """A key as one line of the file; raises Misconfigured for a name that will not do."""
    if not NAME.fullmatch(name):
        raise Misconfigured(_name_words(name))
    until = "" if expires is None else f", expires: {expires:%Y-%m-%dT%H:%M:%SZ}"
    wanted = ", ".join(scope for scope in Scope if scope in set(scopes))
    return f'- {{name: "{name}", scopes: [{wanted}], sha256: "{sha256}"{until}}}\n'


def scopes_of(words: Iterable[object]) -> frozenset[Scope]:
    """The scopes of these names; raises Misconfigured for another name, and for none at all."""
    found = set()
    for word in words:
        try:
            found.add(Scope(str(word)))
        except ValueError:
            known = ", ".join(Scope)
            raise Misconfigured(f"there is no scope {word!r}: there are {known}") from None
    if not found:
        raise Misconfigured(f"a key needs a scope: {', '.join(Scope)}")
    return frozenset(found)


def read(path: Path) -> KeyRing:
    """Read a file of keys; raises Misconfigured saying what to mend."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise Misconfigured(f"{path} is larger than {MAX_BYTES} bytes: no file of keys")
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise Misconfigured(
            f"cannot read the keys in {path} (EBBTIDE_API_KEYS_FILE): {reason}; "
            f"`ebbtide keys new --name admin --scopes write,read,operate --file {path}` makes it"
        ) from error
    return parse(text, str(path))


def parse(text: str, name: str = "the keys") -> KeyRing:
    """Read the text of a file of keys; raises Misconfigured for the first mistake in it."""
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Misconfigured(f"{name}: not YAML: {error}") from error
    if not isinstance(content, list):
        raise Misconfigured(f"{name}: keys are a list, one to a line; `[]` for none")
    keys = [_key(item, f"{name}, key {number}") for number, item in enumerate(content, 1)]
    [(_, count)] = Counter(key.sha256 for key in keys).most_common(1) or [(b"", 1)]
    if count > 1:
        raise Misconfigured(f"{name}: the same sha256 stands there twice; take one of them out")
    return KeyRing(keys)


def _key(item: object, where: str) -> ApiKey:
    if not isinstance(item, dict):
        raise Misconfigured(f"{where}: not a mapping with {', '.join(sorted(_FIELDS))}")
    if unknown := item.keys() - _FIELDS:
        raise Misconfigured(f"{where}: nothing called {', '.join(map(str, sorted(unknown)))}")
    name, scopes, sha256 = (item.get(field) for field in ("name", "scopes", "sha256"))
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise Misconfigured(f"{where}: {_name_words(name)}")
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise Misconfigured(f"{where} ({name}): sha256 must be 64 hexadecimal digits, in quotes")
    if not isinstance(scopes, list):
        raise Misconfigured(f"{where} ({name}): scopes must be a list, as in [write, read]")
    try:
        wanted = scopes_of(scopes)
    except Misconfigured as error:
        raise Misconfigured(f"{where} ({name}): {error}") from None
    return ApiKey(name, wanted, bytes.fromhex(sha256), _expiry(item.get("expires"), where))


def _expiry(value: object, where: str) -> int | None:
    match value:
        case None:
            return None
        case datetime():
            # What says no zone means UTC, as everywhere in the file.
            return to_ms(value if value.tzinfo else value.replace(tzinfo=UTC))
        case date():
            return to_ms(datetime.combine(value, time(), UTC))
        case _:
            raise Misconfigured(f"{where}: expires must be a time, as in 2027-01-31T00:00:00Z")


def _name_words(name: object) -> str:
    return (
        f"{name!r} will not do as a name: up to 64 letters, digits, blanks and . _ @ + -, "
        "a letter or digit first"
    )


_Stamp = tuple[int, int, int]


def _stamp(path: Path) -> _Stamp | None:
    """What changes when somebody writes the file or puts another in its place; None: it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
