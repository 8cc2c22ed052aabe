"""The file of keys: what it takes, and that it is read again."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from contracts.errors import Misconfigured
from contracts.times import to_ms
from ingest_api import access_keys
from ingest_api.access import Scope
from ingest_api.access_keys import KeysFile
from tests.unit.ingest_api.stand import NOON

READ = frozenset({Scope.READ})
DIGEST = access_keys.digest("ebb_one")


def key_line(name: str = "one", key: str = "ebb_one", expires: datetime | None = None) -> str:
    """A line of the file."""
    return access_keys.line(name, READ, access_keys.digest(key), expires)


def test_a_key_is_known_by_its_line():
    """
    What `line` writes `parse` reads: name, scopes, digest and expiry; the key itself is not in it.
    """
    key = access_keys.new_key()
    until = datetime(2027, 1, 31, tzinfo=UTC)
    text = access_keys.line("crm 2", frozenset(Scope), access_keys.digest(key), until)
    found = access_keys.parse(text).holder_of(key.encode(), NOON)

    assert key not in text
    assert found is not None
    assert ("crm 2", frozenset(Scope), to_ms(until)) == (found.name, found.scopes, found.expires_at)


def test_keys_are_long_and_never_the_same():
    """
    256 bits: SHA-256 cannot be turned back by trying.
    """
    keys = {access_keys.new_key() for _ in range(100)}

    assert 100 == len(keys)
    assert {len("ebb_") + 43} == {len(key) for key in keys}


def test_several_keys_of_one_name_serve_beside_each_other():
    """
    So a key is changed without a moment in which neither works.
    """
    ring = access_keys.parse(key_line() + key_line(key="ebb_two"))

    for key in (b"ebb_one", b"ebb_two"):
        held = ring.holder_of(key, NOON)
        assert held is not None
        assert "one" == held.name


@pytest.mark.parametrize(
    ("expires", "is_good"),
    [
        ("2026-09-21T12:00:01Z", True), ("2026-09-21T12:00:00Z", False),
        ("2026-09-21T14:00:01+02:00", True), ("2026-09-22", True), ("2026-09-21", False),
        ("2026-09-21 12:00:01", True),
    ],
)  # fmt: skip
def test_an_expiry_is_a_moment_in_utc_unless_it_says_otherwise(expires, is_good):
    """
    A day ends the key as it begins.
    """
    text = key_line().rstrip("}\n") + f", expires: {expires}}}\n"

    assert is_good == (access_keys.parse(text).holder_of(b"ebb_one", NOON) is not None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "a list"), ("keys: []", "a list"), ("- 1", "key 1: not a mapping"),
        ("- {", "not YAML"),
        ("- {name: a, scopes: [read]}", "key 1 (a): sha256"),
        (f"- {{name: a, scopes: [read], sha256: '{DIGEST[:-1]}'}}", "64 hexadecimal"),
        (f"- {{name: a, scopes: [admin], sha256: '{DIGEST}'}}", "no scope 'admin'"),
        (f"- {{name: a, scopes: [], sha256: '{DIGEST}'}}", "needs a scope"),
        (f"- {{name: a, scopes: read, sha256: '{DIGEST}'}}", "must be a list"),
        (f"- {{name: '', scopes: [read], sha256: '{DIGEST}'}}", "will not do as a name"),
        (f"- {{name: \"a\\nb\", scopes: [read], sha256: '{DIGEST}'}}", "will not do as a name"),
        (f"- {{name: a, scopes: [read], sha256: '{DIGEST}', key: x}}", "nothing called key"),
        (f"- {{name: a, scopes: [read], sha256: '{DIGEST}', expires: soon}}", "expires"),
        (key_line() + key_line(), "twice"),
        ("- !!python/object/apply:os.system ['true']", "not YAML"),
    ],
)  # fmt: skip
def test_a_file_with_a_mistake_is_refused_by_its_name(text, words):
    """
    The message says which key, and what would be right; YAML makes no objects.
    """
    with pytest.raises(Misconfigured) as refused:
        access_keys.parse(text, "keys.yaml")

    assert "keys.yaml" in str(refused.value)
    assert words in str(refused.value)


def test_the_file_is_read_again_and_a_broken_one_is_not_taken(tmp_path: Path):
    """
    A new key counts at the next look, a broken or vanished file leaves the keys before it.
    """
    path = tmp_path / "keys.yaml"
    path.write_text(key_line())
    keys = KeysFile(path)

    def names() -> list[str]:
        keys.look()
        return sorted(key.name for key in keys.ring)

    path.write_text(key_line() + key_line("two", "ebb_two"))
    assert ["one", "two"] == names()
    path.write_text("- {name: three")
    assert ["one", "two"] == names()
    path.unlink()
    assert ["one", "two"] == names()
    path.write_text("")
    assert ["one", "two"] == names()
    path.write_text("[]\n")
    assert [] == names()


def test_no_file_and_no_key_in_it_refuse_to_start(tmp_path: Path):
    """
    Both say the command that mends it.
    """
    with pytest.raises(Misconfigured, match=r"EBBTIDE_API_KEYS_FILE.*keys new"):
        KeysFile(tmp_path / "none.yaml")
    (tmp_path / "empty.yaml").write_text("[]")
    with pytest.raises(Misconfigured, match=r"holds no key.*keys new"):
        KeysFile(tmp_path / "empty.yaml")
