"""`ebbtide alerts check`, `backtest`, `holdout` and `effect`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alerts.holdout import arm
from contracts.errors import BadRecord, Misconfigured
from contracts.events import ActivityEvent, instant_ms
from contracts.times import DAY_MS, from_ms
from ebbtide import alert_log
from ebbtide.cli import main
from model.event_files import write_events
from model.event_log import event_log
from model.simulator import Population, simulate
from tests.unit.scorer.stand import RULES

POPULATION = Population(users=200, days=70, seed=5)
SIZE = ("--horizon-days", "7", "--active-days", "14", "--rows", "600")
BEGINS = from_ms(POPULATION.start_ms + 37 * DAY_MS).isoformat()
POLICY = """
rules:
  - name: big-spenders
    threshold: 0.4
    resolve_below: 0.2
    where: {plan: [Yearly]}
    for: 12h
  - name: everybody
    threshold: 0.5
    resolve_below: 0.3
    cooldown: 3d
    severity: critical
    words: Call them.
holdout: {share: 0.1, epoch: spring}
"""

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("events") / "visits.parquet"
    write_events(simulate(POPULATION), path)
    return path


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return path


def test_a_policy_is_said_in_plain_words(policy: Path, capsys: Capture) -> None:
    """
    `check` tells of every rule whom it watches, when it opens and what it adds, and of the holdout.
    """
    assert 0 == main(["alerts", "check", str(policy)])

    out = capsys.readouterr().out
    for words in (
        "big-spenders (warning)",
        "users with 3 or more active days and plan yearly",
        "opens at a risk of 40% that has lasted 12 hours",
        "everybody (critical)",
        "for 3 days after an alert",
        'adds: "Call them."',
        "10% of users are held out (experiment 'spring')",
        "no channels",
    ):
        assert words in out


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (POLICY.replace("0.5", "1.5"), "threshold"),
        (POLICY.replace("cooldown", "cool_down"), "cool_down"),
        (POLICY.replace("3d", "3 fortnights"), "30m"),
        ("rules: [", "line"),
    ],
)
def test_a_wrong_policy_is_refused(text: str, named: str, tmp_path: Path, capsys: Capture) -> None:
    """
    `check` ends with 1 and names the file and what in it has to change.
    """
    path = tmp_path / "policy.yaml"
    path.write_text(text)

    assert 1 == main(["alerts", "check", str(path)])

    told = capsys.readouterr()
    assert "" == told.out
    assert str(path) in told.err
    assert named in told.err


def test_a_missing_policy_is_refused(tmp_path: Path, capsys: Capture) -> None:
    """
    `check` of a file that is not there ends with 1 and a message.
    """
    assert 1 == main(["alerts", "check", str(tmp_path / "none.yaml")])

    assert "none.yaml" in capsys.readouterr().err


@pytest.fixture(scope="module")
def report(events: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("report") / "report.json"
    policy = out.with_name("policy.yaml")
    policy.write_text(POLICY)
    with pytest.MonkeyPatch.context() as patched, out.open("w") as file:
        patched.setattr("sys.stdout", file)
        words = ["alerts", "backtest", str(policy), "--events", str(events), *SIZE, "--json"]
        words += ["--from", BEGINS, "--step-days", "18"]
        assert 0 == main([*words, "--rule", "everybody", "--per-day", "2"])
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def test_a_backtest_sets_every_rule_beside_its_baselines(report: dict[str, Any]) -> None:
    """
    Each rule stands beside the rule of thumb and chance, at no higher volume, over the same days
    and churn episodes.
    """
    assert ["big-spenders", "everybody"] == [one["rule"]["name"] for one in report["rules"]]
    for one in report["rules"]:
        figures = one["rule"]["figures"]
        assert ["silent for twice the usual gap", "at random"] == [
            baseline["name"] for baseline in one["baselines"]
        ]
        for baseline in one["baselines"]:
            assert baseline["figures"]["alerts"] <= figures["alerts"]
            assert baseline["figures"]["churn_episodes"] == figures["churn_episodes"]
    assert report["rules"][1]["rule"]["figures"]["alerts"] > 0


def test_a_backtest_walks_forward(report: dict[str, Any]) -> None:
    """
    Steps follow each other, each with a model of its own, and what counts lies a horizon inside.
    """
    steps = report["steps"]

    assert [step["ends"] for step in steps[:-1]] == [step["begins"] for step in steps[1:]]
    assert len(steps) == len({step["model"] for step in steps}) > 1
    assert steps[0]["begins"] < report["window"][0] <= report["window"][1] < steps[-1]["ends"]


def test_a_volume_is_fitted_on_one_half_and_checked_on_the_other(report: dict[str, Any]) -> None:
    """
    The threshold for two alerts a day gives no more in the half it was fitted on, and is reported
    of the half after it as well.
    """
    fit = report["fit"]

    assert ("everybody", 2.0) == (fit["rule"], fit["wanted_per_day"])
    assert fit["fitted_figures"]["per_day_mean"] <= 2.0
    assert fit["fitted"][1] <= fit["checked"][0]
    assert 2 == len(fit["baselines"])
    for baseline in fit["baselines"]:
        assert baseline["figures"]["alerts"] <= fit["checked_figures"]["alerts"]


def test_a_backtest_is_a_table_of_a_sample(events: Path, capsys: Capture) -> None:
    """
    Without a file the default policy is tried, and a sample of users is called one.
    """
    assert 0 == main(["alerts", "backtest", "--events", str(events), *SIZE, "--users", "90"])

    out = capsys.readouterr().out
    assert "90 users of 200, drawn at random" in out
    assert "\ndefault " in out
    assert "silent for twice the usual gap" in out


def test_models_of_a_backtest_know_nothing_of_later(
    report: dict[str, Any], tmp_path: Path, capsys: Capture
) -> None:
    """
    What happens after a step has begun changes nothing in its model: with the log cut, the first
    step's is the same to the digest.
    """
    cut = tmp_path / "cut.parquet"
    until = POPULATION.start_ms + 60 * DAY_MS
    early = (
        event
        for event in simulate(POPULATION)
        if event.occurred_at is not None and instant_ms(event.occurred_at) < until
    )
    write_events(early, cut)
    words = ["alerts", "backtest", "--events", str(cut), *SIZE, "--step-days", "60", "--json"]

    assert 0 == main([*words, "--from", BEGINS])

    (only,) = json.loads(capsys.readouterr().out)["steps"]
    assert report["steps"][0]["model"] == only["model"]
    assert report["steps"][0]["ends"] != only["ends"]


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (("--horizon-days", "30"), "too little history"),
        (("--horizon-days", "7", "--from", "2025-01-10"), "--from"),
        (("--horizon-days", "7", "--per-day", "5", "--rule", "none"), "--rule none"),
        (("--horizon-days", "7", "--per-day", "0"), "--per-day"),
    ],
)
def test_a_question_history_cannot_answer_is_refused(
    more: tuple[str, ...], named: str, events: Path, capsys: Capture
) -> None:
    """
    Too short a log, a first step too early and a rule that is not there are refused in words.
    """
    assert 2 == main(["alerts", "backtest", "--events", str(events), *more])

    assert named in capsys.readouterr().err


def test_the_worker_pays_for_no_action() -> None:
    """
    Describing what can be done with alerts, as the worker's command does, loads no library for it.
    """
    code = (
        "import argparse, sys; from ebbtide.commands import alerts; "
        "alerts.add_parser(argparse.ArgumentParser().add_subparsers()); "
        "print(sorted({'numpy', 'pyarrow', 'sklearn', 'aiokafka', 'apprise'} & set(sys.modules)))"
    )

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "[]" == found.stdout.strip()


def test_a_holdout_says_first_what_it_takes(capsys: Capture) -> None:
    """
    `holdout` tells the alerts needed at the share asked for and at half and half, and the days.
    """
    words = ["alerts", "holdout", "--share", ".1", "--retention", ".40", "--lift", ".05"]
    assert 0 == main([*words, "--per-day", "20"])

    out = capsys.readouterr().out
    assert "10% held out: 8,399 alerts about as many users, 840 of them controls, 420 days" in out
    assert "50% held out: 3,062 alerts about as many users, 1,531 of them controls, 153 days" in out


def test_a_holdout_says_what_several_rules_take(capsys: Capture) -> None:
    """
    Of several rules side by side each takes more alerts than one alone, and all together some more.
    """
    words = ["alerts", "holdout", "--retention", ".40", "--rules"]

    assert 0 == main([*words, "3"])

    told = capsys.readouterr().out
    assert "3 rules side by side" in told
    assert "10% held out: 10,171 alerts" in told
    assert "to show it of one rule: 12,958 alerts of that rule" in told
    assert 0 != main([*words, "0"])
    assert "--rules 0: must be 1 or more" in capsys.readouterr().err


def test_a_holdout_is_also_told_to_programs(capsys: Capture) -> None:
    """
    `holdout --json` is a list with the size of each share; without a pace it knows no days.
    """
    assert 0 == main(["alerts", "holdout", "--retention", ".40", "--share", ".5", "--json"])

    (only,) = json.loads(capsys.readouterr().out)
    assert (0.5, 3_062, None) == (only["share"], only["alerts"], only["days"])


def alert_line(user: str, at: int, **more: object) -> str:
    told = {"user_id": user, "kind": "opened", "occurred_at": from_ms(at).isoformat()}
    return json.dumps(told | {"arm": "treated", "horizon_days": 14} | more)


def experiment(folder: Path, lift: float) -> tuple[Path, Path]:
    """Alerts about 2,000 users and what they did: of controls .4 come back, of treated `lift` more.

    Regulars drop in on every day, so that the log is complete to its end.
    """
    rng = np.random.default_rng(3)
    start = POPULATION.start_ms
    lines, visits = [], []
    for number in range(2_000):
        user, at = f"u{number}", start + (1 + number % 60) * DAY_MS
        arm_of = arm(user, "spring", 0.5)
        lines.append(alert_line(user, at, arm=arm_of))
        visits.append((user, start))
        if rng.random() < 0.4 + (lift if arm_of == "treated" else 0.0):
            visits.append((user, at + 3 * DAY_MS))
    visits += [(f"regular{n}", start + day * DAY_MS) for n in range(30) for day in range(90)]
    alerts, log = folder / "alerts.jsonl", folder / "visits.csv"
    alerts.write_text("\n".join(lines) + "\n")
    made = sorted(visits, key=lambda one: one[1])
    write_events(
        (ActivityEvent(user_id=u, type="page_view", occurred_at=from_ms(at)) for u, at in made),
        log,
    )
    return alerts, log


def test_an_effect_is_seen_and_told(tmp_path: Path, capsys: Capture) -> None:
    """
    Where alerts bring back a fifth more, `effect` says that they help, with an interval around it.
    """
    alerts, log = experiment(tmp_path, 0.2)

    assert 0 == main(["alerts", "effect", "--alerts", str(alerts), "--events", str(log), "--json"])

    told = json.loads(capsys.readouterr().out)
    assert "alerts help" == told["verdict"]
    assert told["interval"][0] < 0.2 < told["interval"][1]
    assert 2_000 == told["treated"]["users"] + told["control"]["users"]


def test_no_effect_is_not_yet_known(tmp_path: Path, capsys: Capture) -> None:
    """
    Where alerts do nothing, `effect` says `not yet known`, what could be seen, and for how long to
    go on.
    """
    alerts, log = experiment(tmp_path, 0.0)

    assert 0 == main(["alerts", "effect", "--alerts", str(alerts), "--events", str(log)])

    out = capsys.readouterr().out
    assert "not yet known: retention " in out
    assert "so many users show a rise of " in out
    assert "to show a rise of 5.0% takes " in out


def test_only_opened_alerts_count(tmp_path: Path) -> None:
    """
    Other transitions, users the log does not know and what was before the experiment are left out.
    """
    day = POPULATION.start_ms
    log = event_log(
        [ActivityEvent(user_id="ada", type="page_view", occurred_at=from_ms(day))], RULES
    )
    path = tmp_path / "alerts.jsonl"
    path.write_text(
        "\n".join(
            [
                alert_line("ada", day),
                alert_line("ada", day + 5 * DAY_MS, arm="control", horizon_days=30),
                alert_line("ada", day + 6 * DAY_MS, kind="resolved"),
                "",
                alert_line("bo", day + 4 * DAY_MS),
            ]
        )
    )

    found = alert_log.opened(alert_log.lines_of(path), log, since=day + DAY_MS)

    assert ([day + 5 * DAY_MS], [False]) == (
        found.alerted.at.tolist(),
        found.alerted.treated.tolist(),
    )
    assert (1, 30) == (found.unknown, found.horizon_days)


def test_a_line_that_is_no_alert_is_named(tmp_path: Path) -> None:
    """
    The first line that is no alert is refused with its number; a file that is not there, too.
    """
    path = tmp_path / "alerts.jsonl"
    path.write_text(alert_line("ada", POPULATION.start_ms) + '\n{"user_id": 3}\n')
    log = event_log([], RULES)

    with pytest.raises(BadRecord, match="line 2"):
        alert_log.opened(alert_log.lines_of(path), log)
    with pytest.raises(Misconfigured, match=r"none\.jsonl"):
        list(alert_log.lines_of(tmp_path / "none.jsonl"))
