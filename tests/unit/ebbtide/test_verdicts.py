"""Verdicts as labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from contracts.commands import AlertCommand
from contracts.errors import LogUnavailable
from contracts.times import DAY_MS, from_ms
from ebbtide import cli, verdicts
from ebbtide.verdicts import standing
from model.labels import VERDICTS, read_verdicts
from runtime.settings import ServiceSettings


def said(verdict: str | None, day: int, episode: str = "e1", **more: Any) -> AlertCommand:
    fields: dict[str, Any] = {
        "command_id": f"c{day}",
        "user_id": "ada",
        "dedup_key": episode,
        "kind": "acknowledge" if verdict is None else "verdict",
        "verdict": verdict,
        "at": from_ms(day * DAY_MS),
    }
    return AlertCommand(**(fields | more))


def test_the_last_verdict_on_an_episode_stands() -> None:
    """
    People change their minds, also back; other commands say nothing of worth.
    """
    commands = [
        said("wrong", 1),
        said("helped", 2),
        said("duplicate", 3, "e2"),
        said(None, 4),
        said("wrong", 5),
    ]

    labels = standing(commands)

    assert [("e2", "duplicate"), ("e1", "wrong")] == [(x.dedup_key, x.verdict) for x in labels]
    assert from_ms(5 * DAY_MS) == labels[1].at


def test_every_verdict_is_one_that_training_knows() -> None:
    """
    What can be said is what `train --use-verdicts` takes.
    """
    kinds = msgspec.json.schema(AlertCommand)["$defs"]["AlertCommand"]["properties"]["verdict"]

    assert set(VERDICTS) == {value for value in str(kinds).split("'") if value in VERDICTS}
    assert [{"enum": sorted(VERDICTS)}, {"type": "null"}] == kinds["anyOf"]


def test_the_export_is_what_training_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    What `alerts verdicts --json` prints, `train --use-verdicts` reads: user, time and verdict.
    """

    async def given(_: ServiceSettings) -> list[AlertCommand]:
        return [said("wrong", 1, note="on holiday"), said("helped", 2, "e2", user_id="bob")]

    monkeypatch.setattr(verdicts, "given", given)
    assert 0 == cli.main(["alerts", "verdicts", "--json"])
    out, told = capsys.readouterr()
    file = tmp_path / "verdicts.jsonl"
    file.write_text(out)

    class Log:
        user_ids = ("bob", "ada")

    read = read_verdicts(file, Log())  # type: ignore[arg-type]

    assert ([1], [DAY_MS]) == (read.user.tolist(), read.at.tolist())
    assert "2 verdicts: 1 helped, 1 wrong\n" == told
    assert 0 == cli.main(["alerts", "verdicts"])
    assert "on holiday" in capsys.readouterr().out


def test_without_kafka_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    The command fails with the reason, not with an empty file that looks like no verdicts.
    """

    async def given(_: ServiceSettings) -> list[AlertCommand]:
        raise LogUnavailable("Kafka is away: it is a test")

    monkeypatch.setattr(verdicts, "given", given)

    assert 0 != cli.main(["alerts", "verdicts", "--json"])
    out, told = capsys.readouterr()
    assert "" == out
    assert "Kafka is away" in told
