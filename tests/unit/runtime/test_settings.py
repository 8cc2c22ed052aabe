"""What services read from the environment."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from contracts.activity import DEFAULT_PASSIVE_TYPES
from contracts.times import DAY_MS
from runtime.settings import ServiceSettings


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine has set."""
    import os  # noqa: PLC0415

    for name in os.environ:
        if name.upper().startswith("EBBTIDE_"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("text", "types"),
    [("a,b", ("a", "b")), (" a , ,b* ", ("a", "b*")), ("", ()), ("one", ("one",))],
)
def test_passive_types_are_separated_by_commas(
    monkeypatch: pytest.MonkeyPatch, text: str, types: tuple[str, ...]
) -> None:
    """Blanks around and empty parts do not count; nothing at all means that every type counts."""
    monkeypatch.setenv("EBBTIDE_PASSIVE_TYPES", text)
    settings = ServiceSettings()
    assert types == settings.passive_types == settings.fold_rules.passive_types


def test_the_fold_rules_follow_the_settings() -> None:
    """Another list or retention is another digest; the order of the list is not."""
    settings = ServiceSettings()
    assert DEFAULT_PASSIVE_TYPES == settings.fold_rules.passive_types
    assert 730 * DAY_MS == settings.fold_rules.retention_ms
    other = ServiceSettings(passive_types=("b", "a"))
    assert ServiceSettings(passive_types=("a", "b")).fold_rules.digest == other.fold_rules.digest
    digests = {
        settings.fold_rules.digest,
        other.fold_rules.digest,
        ServiceSettings(retention_days=3).fold_rules.digest,
    }
    assert 3 == len(digests)


def test_a_records_lifetime_outlasts_facts_and_log() -> None:
    """For ever where the log is kept for ever."""
    assert None is ServiceSettings().record_ttl_ms
    assert 13 * DAY_MS == ServiceSettings(retention_days=10, log_retention_days=3).record_ttl_ms


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EBBTIDE_PARTITIONS", "0"),
        ("EBBTIDE_CLOCK", "sundial"),
        ("EBBTIDE_RETENTION_DAYS", "x"),
        ("EBBTIDE_LOG_LEVEL", "loud"),
        ("EBBTIDE_SESSION_TIMEOUT_MS", "1"),
    ],
)
def test_what_makes_no_sense_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """At start, by name."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=name.removeprefix("EBBTIDE_").lower()):
        ServiceSettings()
