"""The two commands, as far as they go without a network."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from contracts.errors import Misconfigured
from ebbtide.commands import replay, simulate
from model.event_log import read_events
from model.simulator import Population, churn_dates
from model.simulator import simulate as population_events


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers()
    simulate.add_parser(subparsers)
    replay.add_parser(subparsers)
    return parser.parse_args(words)


SMALL = ("--users", "30", "--days", "20", "--seed", "4", "--start", "2025-01-01T00:00:00Z")


def test_simulate_writes_the_population_and_its_truth(tmp_path: Path) -> None:
    """
    The file holds the population's events, the truth file who left and when.
    """
    out, truth = tmp_path / "events.jsonl", tmp_path / "truth.csv"

    args = parse("simulate", *SMALL, "--out", str(out), "--truth", str(truth))

    assert 0 == args.run(args)
    population = Population(users=30, days=20, seed=4)
    assert list(population_events(population)) == list(read_events(out))
    lines = truth.read_text().splitlines()
    assert "user_id,churned_at" == lines[0]
    dates = churn_dates(population)
    assert list(dates) == [line.split(",")[0] for line in lines[1:]]
    assert [d is None for d in dates.values()] == [line.endswith(",") for line in lines[1:]]


def test_simulate_until_leaves_out_what_is_later(tmp_path: Path) -> None:
    """
    --until cuts the events short.
    """
    out = tmp_path / "events.csv"

    args = parse("simulate", *SMALL, "--out", str(out), "--until", "2025-01-11")

    assert 0 == args.run(args)
    times = [str(event.occurred_at) for event in read_events(out)]
    assert times
    assert max(times) < "2025-01-11"


def test_simulate_refuses_what_does_not_fit(tmp_path: Path) -> None:
    """
    A file has no pace, and a format nobody knows is named before anything is written.
    """
    for words in (["--out", "e.csv", "--speed-up", "5"], ["--out", "e.xlsx"]):
        args = parse("simulate", *SMALL, "--truth", str(tmp_path / "t.csv"), *words)
        with pytest.raises(Misconfigured):
            args.run(args)

    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        ["simulate"],
        ["simulate", "--out", "e.csv", "--kafka", "h:1"],
        ["simulate", "--out", "e.csv", "--users", "0"],
        ["simulate", "--kafka", "h:1", "--speed-up", "-1"],
        ["simulate", "--kafka", "h:1", "--start", "yesterday"],
        ["replay", "e.csv"],
        ["replay", "--kafka", "h:1"],
    ],
)
def test_bad_words_are_refused_by_the_parser(words: list[str]) -> None:
    """
    Exactly one target, and numbers and times that make sense.
    """
    with pytest.raises(SystemExit):
        parse(*words)


def test_replay_of_an_empty_log_sends_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    An input without events is said to be empty, before anybody is called.
    """
    path = tmp_path / "e.csv"
    path.write_text("user_id,type,occurred_at\n")
    args = parse("replay", str(path), "--kafka", "127.0.0.1:1")

    assert 0 == args.run(args)
    assert "no events" in capsys.readouterr().err
