"""`ebbtide keys`: what it prints, and what it writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.times import DAY_MS
from ebbtide.cli import main
from ingest_api import access_keys
from ingest_api.access import Scope
from runtime.clock import wall_ms


def made(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr of `ebbtide keys ...`."""
    code = main(["keys", *words])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_new_key_is_printed_once_and_its_line_is_what_a_gateway_reads(capsys, tmp_path: Path):
    """
    stdout has the key alone, so that a script can take it; the line holds its digest only.
    """
    code, out, err = made(capsys, "new", "--name", "crm", "--scopes", "write, read")
    [line] = [line for line in err.splitlines() if line.startswith("- ")]
    held = access_keys.parse(line).holder_of(out.strip().encode(), wall_ms())

    assert 0 == code
    assert out.strip() not in err
    assert held is not None
    assert ("crm", {Scope.WRITE, Scope.READ}) == (held.name, set(held.scopes))


def test_keys_are_added_to_a_file_one_after_the_other(capsys, tmp_path: Path):
    """
    The first makes the file; those before stay, with their comments.
    """
    path = tmp_path / "etc" / "keys.yaml"
    first = made(capsys, "new", "--name", "a", "--scopes", "read", "--file", str(path))[1]
    path.write_text(f"# for the shop\n{path.read_text().rstrip()}")
    second = made(
        capsys, "new", "--name", "b", "--scopes", "write", "--days", "1", "--file", str(path)
    )[1]
    ring, now = access_keys.read(path), wall_ms()

    assert path.read_text().startswith("# for the shop\n")
    assert ring.holder_of(first.strip().encode(), now + 9 * DAY_MS)
    assert ring.holder_of(second.strip().encode(), now)
    assert not ring.holder_of(second.strip().encode(), now + DAY_MS)
    assert {"keys.yaml"} == {each.name for each in path.parent.iterdir()}


def test_a_file_that_is_there_can_be_left_alone(capsys, tmp_path: Path):
    """
    So a container makes its first key once, however often it starts.
    """
    path = tmp_path / "keys.yaml"
    words = ("new", "--name", "a", "--scopes", "read", "--file", str(path), "--unless-there")
    made(capsys, *words)
    before = path.read_text()
    code, out, err = made(capsys, *words)

    assert (0, "") == (code, out)
    assert "is there already" in err
    assert before == path.read_text()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--name", "a", "--scopes", "admin"), "write, read, operate"),
        (("--name", "a", "--scopes", ""), "no scope ''"),
        (("--name", "a}, x: {", "--scopes", "read"), "will not do as a name"),
        (("--name", '"', "--scopes", "read"), "will not do as a name"),
    ],
)
def test_what_does_not_fit_makes_no_key(capsys, words, told):
    """
    Exit 2, and what would do.
    """
    code, out, err = made(capsys, "new", *words)

    assert (2, "") == (code, out)
    assert told in err


def test_a_broken_file_is_not_written_over(capsys, tmp_path: Path):
    """
    What is there may be the only list of the keys in use.
    """
    path = tmp_path / "keys.yaml"
    path.write_text("- {name: a")
    code, out, _ = made(capsys, "new", "--name", "b", "--scopes", "read", "--file", str(path))

    assert (2, "") == (code, out)
    assert "- {name: a" == path.read_text()


def test_a_file_is_listed_without_what_opens_anything(capsys, tmp_path: Path, monkeypatch):
    """
    Name, scopes, expiry, and the beginning of the digest.
    """
    path = tmp_path / "keys.yaml"
    key = made(capsys, "new", "--name", "crm", "--scopes", "operate,read", "--file", str(path))[1]
    monkeypatch.setenv("EBBTIDE_API_KEYS_FILE", str(path))
    code, out, _ = made(capsys, "list")

    assert 0 == code
    assert "crm\tread,operate\tfor ever" in out
    assert key.strip() not in out
    assert access_keys.digest(key.strip()) not in out


def test_without_a_file_there_is_nothing_to_list(capsys, monkeypatch):
    """
    It says how to name one.
    """
    monkeypatch.delenv("EBBTIDE_API_KEYS_FILE", raising=False)
    code, _, err = made(capsys, "list")

    assert 2 == code
    assert "--file" in err
