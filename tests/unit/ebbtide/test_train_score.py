"""`ebbtide train`, `ebbtide score`, and the model a fresh installation starts with."""

from __future__ import annotations

import argparse
import csv
import re
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from contracts.activity import FoldRules
from contracts.errors import ArtefactMismatch, Misconfigured
from contracts.events import ActivityEvent, instant_ms
from contracts.times import DAY_MS, from_ms
from ebbtide import demo_model
from ebbtide.cli import main
from ebbtide.commands.train import add_parser, settings_of
from model.artefact import (
    FULL_GRAPH,
    INPUTS_GRAPH,
    MANIFEST_FILE,
    MODEL_FILE,
    QUALITY_FILE,
    REPORT_FILE,
    load,
)
from model.dataset import facts_at
from model.event_files import read_events, write_events
from model.event_log import event_log, load_event_log
from model.simulator import Population, simulate
from model.training import METRICS_FILE, TrainingSettings

POPULATION = Population(users=200, days=100, seed=9)
COLUMNS = (
    "user_id", "prediction", "confidence", "churn_probability", "model_version", "origin",
)  # fmt: skip
AS_OF = POPULATION.start_ms + 70 * DAY_MS
TRAIN = ("--horizon-days", "10", "--active-days", "20", "--rows", "1500")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("train")


@pytest.fixture(scope="module")
def events(folder: Path) -> Path:
    path = folder / "visits.parquet"
    write_events(simulate(POPULATION), path)
    return path


@pytest.fixture(scope="module")
def model_dir(folder: Path, events: Path) -> Path:
    assert main(["train", "--events", str(events), *TRAIN, "--out", str(folder / "model")]) == 0
    return folder / "model"


def score(events: Path, model_dir: Path, out: Path, as_of: str = from_ms(AS_OF).isoformat()) -> int:
    return main(
        ["score", "--events", str(events), "--as-of", as_of, "--model", str(model_dir),
         "--out", str(out)]
    )  # fmt: skip


def test_train_writes_a_model_that_loads(model_dir):
    """
    Model, manifest, metrics and report are there; the origin names the log and its dates.
    """
    model = load(model_dir)

    told = {METRICS_FILE, QUALITY_FILE, REPORT_FILE}
    assert told == set(model.manifest.beside)
    assert {FULL_GRAPH, INPUTS_GRAPH, MANIFEST_FILE, MODEL_FILE} | told == {
        path.name for path in model_dir.iterdir()
    }
    assert "visits.parquet 2025-01-01 to 2025-04-10" == model.origin
    assert (10, 20) == (model.horizon_days, model.manifest.active_days)


def test_train_prints_a_table_and_keeps_progress_apart(events, tmp_path, capsys):
    """
    The candidates go to stdout with the chosen one marked, progress goes to stderr.
    """
    assert main(["train", "--events", str(events), *TRAIN, "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr()

    for title in ("logistic regression", "histogram gradient boosting", "random forest"):
        assert title in shown.out
    assert "* chosen: " in shown.out
    assert "replaying the log" in shown.err
    assert "replaying" not in shown.out


def rewritten(path: Path, *columns: str) -> Path:
    """The visits of the population with only some columns, all of them purchases."""
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["user_id", "type", "occurred_at", *columns])
        for event in simulate(POPULATION):
            stated = [getattr(event, name) for name in columns]
            out.writerow([event.user_id, "purchase", event.occurred_at.isoformat(), *stated])
    return path


def test_train_tells_which_inputs_the_log_never_states(tmp_path, capsys):
    """
    A log with minutes alone teaches /predict, and says what was not learned.
    """
    bare, model = rewritten(tmp_path / "bare.csv", "time_spent"), tmp_path / "model"

    assert main(["train", "--events", str(bare), *TRAIN, "--out", str(model)]) == 0
    said = capsys.readouterr().err
    for name in ("pages_visited", "is_logged_in"):
        assert f"the log never states {name}" in said
    assert "the log never states time_spent" not in said
    assert load(model).manifest.kept_inputs is None


@pytest.mark.usefixtures("small_demo")
def test_a_log_without_pages_and_minutes_keeps_the_demo_models_inputs(tmp_path, capsys):
    """
    The four-input estimator is the demo model's, and everything says whose: the full one is not.
    """
    bare, out = rewritten(tmp_path / "bare.csv"), tmp_path / "model"
    demo_model.ensure(tmp_path / "demo")

    assert main(["train", "--events", str(bare), *TRAIN, "--out", str(out)]) == 0
    shown = capsys.readouterr()
    demo, model = load(tmp_path / "demo"), load(out)
    totals = np.array([[12, 180.5, 10, 1], [0, 0, 400, 0], [np.nan] * 4])
    assert demo.score_inputs(totals).tolist() == model.score_inputs(totals).tolist()
    assert ("simulator", 10) == (model.inputs_origin, model.inputs_horizon_days)
    assert model.origin.startswith("bare.csv")
    assert "keeping the four-input model" in shown.err
    assert "/predict keeps the four-input model of origin simulator" in shown.err
    assert "/predict, session ends (simulator)" in shown.out


def test_delivered_alerts_and_verdicts_change_rows_and_say_how_many(events, tmp_path, capsys):
    """
    Rows near a delivered alert leave, those of controls count more, wrong alerts become labels.
    """
    log = load_event_log([events], FoldRules())
    alerts, verdicts = tmp_path / "alerts.jsonl", tmp_path / "verdicts.jsonl"
    at = from_ms(POPULATION.start_ms + 40 * DAY_MS).isoformat()
    told = [
        {"user_id": user, "kind": "opened", "occurred_at": at, "control": i % 4 == 0}
        for i, user in enumerate(log.user_ids[:60])
    ]
    alerts.write_bytes(b"\n".join(map(msgspec.json.encode, told)))
    said = [{"user_id": one["user_id"], "at": at, "verdict": "wrong"} for one in told]
    verdicts.write_bytes(b"\n".join(map(msgspec.json.encode, said)))
    words = ["train", "--events", str(events), *TRAIN, "--out", str(tmp_path / "model")]

    assert 0 == main([*words, "--alerts", str(alerts), "--use-verdicts", str(verdicts)])
    err = capsys.readouterr().err
    notes = load(tmp_path / "model").manifest.notes
    for expected in (
        r"[1-9]\d* of 1,500 rows left for treatment",
        r"[1-9]\d* rows of controls count 4\.0 times",
        r"[1-9]\d* of 1,500 rows became not churned",
    ):
        assert any(re.search(expected, note) for note in notes)
        assert re.search(expected, err)
    assert "45 delivered alerts, 15 of controls" in err
    assert any("left for treatment" in line for line in (tmp_path / "model" / REPORT_FILE)
               .read_text().splitlines())  # fmt: skip


def test_a_holdout_share_without_alerts_is_refused(events, tmp_path, capsys):
    """
    There is nothing it could be a share of.
    """
    words = ["train", "--events", str(events), *TRAIN, "--out", str(tmp_path / "m")]

    assert 2 == main([*words, "--holdout-share", "0.1"])
    assert "--alerts" in capsys.readouterr().err


def test_train_and_score_say_by_what_they_order(events, model_dir, tmp_path, capsys):
    """
    By receipt where the log has it, else by occurrence.
    """
    received = tmp_path / "received.jsonl"
    late = [
        msgspec.to_builtins(one) | {"received_at": instant_ms(one.occurred_at) + 1}
        for one in read_events(events)
    ]
    received.write_bytes(b"\n".join(map(msgspec.json.encode, late)))

    assert 0 == score(events, model_dir, tmp_path / "one.csv")
    assert "in the order of occurred_at" in capsys.readouterr().err
    assert 0 == score(received, model_dir, tmp_path / "two.csv")
    assert "in the order of received_at" in capsys.readouterr().err


def settings(events: Path, *words: str) -> TrainingSettings:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    args = parser.parse_args(["train", "--events", str(events), "--out", "x", *words])
    return settings_of(args, load_event_log([events], FoldRules()))


def test_a_preset_states_horizon_and_activity(events):
    """
    And what is stated beside it wins.
    """
    game = settings(events, "--preset", "game")
    longer = settings(events, "--preset", "saas", "--horizon-days", "20")

    assert (14, 7) == (game.horizon_days, game.active_days)
    assert (20, 30) == (longer.horizon_days, longer.active_days)


def test_without_a_horizon_nothing_is_guessed(events):
    """
    A horizon is stated, preset, or `auto`, which refuses when even the longest is too short.
    """
    with pytest.raises(Misconfigured, match="--horizon-days and --active-days, or a --preset"):
        settings(events, "--active-days", "20")
    with pytest.raises(Misconfigured, match="--horizon-days auto"):
        settings(events, "--active-days", "20", "--horizon-days", "auto")


def test_outcomes_from_a_file_are_learned_from(events, tmp_path, capsys):
    """
    The rows are the moments in the file, and the manifest says whose word it was.
    """
    log = load_event_log([events], FoldRules())
    path, rng = tmp_path / "labels.csv", np.random.default_rng(0)
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["user_id", "as_of", "churned"])
        for day in range(20, 80):
            for user in rng.choice(log.user_ids, 12, replace=False):
                moment = from_ms(POPULATION.start_ms + day * DAY_MS).isoformat()
                out.writerow([user, moment, int(rng.random() < 0.4)])
    words = ["train", "--events", str(events), *TRAIN, "--labels", str(path)]

    assert 0 == main([*words, "--out", str(tmp_path / "model")])
    manifest = load(tmp_path / "model").manifest
    assert "as the given labels say" == manifest.churn
    assert 400 < manifest.rows["total"] <= 720
    assert "left out" in capsys.readouterr().err


def test_a_cancellation_can_be_what_churn_means(events, tmp_path):
    """
    With --churn-events the label is the event, and the manifest says so.
    """
    visits, rng = list(read_events(events)), np.random.default_rng(1)
    leaving = [
        ActivityEvent(
            user_id=one.user_id,
            type="subscription_cancelled",
            occurred_at=instant_ms(one.occurred_at) + DAY_MS,
        )
        for one in visits
        if one.type != "subscription_cancelled" and rng.random() < 0.05
    ]
    path = tmp_path / "cancelled.parquet"
    write_events([*visits, *leaving], path)
    words = ["train", "--events", str(path), *TRAIN, "--churn-events", "subscription_cancelled"]

    assert 0 == main([*words, "--out", str(tmp_path / "model")])
    manifest = load(tmp_path / "model").manifest
    assert "subscription_cancelled within the horizon" == manifest.churn


def test_a_bad_row_is_named_with_file_and_line(tmp_path, capsys):
    """
    The message leads to the line; nothing is written.
    """
    bad = tmp_path / "bad.csv"
    bad.write_text(
        "user_id,type,occurred_at,pages_visited\n"
        "ada,page_view,2025-01-01T00:00:00Z,1\n"
        "bob,page_view,2025-01-01T00:00:00Z,-3\n"
    )

    assert main(["train", "--events", str(bad), *TRAIN, "--out", str(tmp_path / "m")]) == 2
    assert "bad.csv, line 3: pages_visited" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


def test_too_little_history_is_refused(events, tmp_path, capsys):
    """
    One plain line says how much there is and how much is needed.
    """
    words = ["--horizon-days", "60", "--active-days", "60", "--out", str(tmp_path / "m")]

    assert main(["train", "--events", str(events), *words]) == 2
    assert "too little history" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong", [("--horizon-days", "0"), ("--rows", "7"), ("--seed", "x"), ("--holdout-share", "2")]
)
def test_options_out_of_range_are_refused(events, tmp_path, wrong, capsys):
    """
    A number beyond its range is an error of the command line, naming the option.
    """
    with pytest.raises(SystemExit):
        main(["train", "--events", str(events), *TRAIN, "--out", str(tmp_path), *wrong])
    assert wrong[0] in capsys.readouterr().err


def test_scores_are_those_of_the_model_on_the_fold(events, model_dir, tmp_path):
    """
    Every user with an event by then is there, with the score of their folded record as of then.
    """
    assert score(events, model_dir, tmp_path / "scores.csv") == 0
    with (tmp_path / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))

    rules = FoldRules()
    known = [event for event in simulate(POPULATION) if event.occurred_at <= from_ms(AS_OF)]
    log = event_log(known, rules)
    model = load(model_dir)
    expected = {}
    user, as_of = np.arange(len(log.user_ids)), np.full(len(log.user_ids), AS_OF)
    for which, facts in facts_at(log, user, as_of, rules):
        for index, found in zip(which, model.score(facts, as_of[which]), strict=True):
            expected[log.user_ids[index]] = found

    assert COLUMNS == tuple(rows[0])
    assert {(model.version, model.origin)} == {
        (row["model_version"], row["origin"]) for row in rows
    }
    assert expected == {row["user_id"]: float(row["churn_probability"]) for row in rows}


def test_prediction_and_confidence_follow_the_cutoff(events, model_dir, tmp_path):
    """
    "1" from the cut-off on; confidence is the probability of the predicted class.
    """
    assert score(events, model_dir, tmp_path / "scores.parquet") == 0
    rows = pq.read_table(tmp_path / "scores.parquet").to_pylist()

    assert {"0", "1"} == {row["prediction"] for row in rows}
    for row in rows:
        churns = row["churn_probability"] >= load(model_dir).class_cutoff
        assert ("1" if churns else "0") == row["prediction"]
        likelier = row["churn_probability"] if churns else 1 - row["churn_probability"]
        assert likelier == pytest.approx(row["confidence"], abs=1e-9)


def test_csv_and_parquet_say_the_same(events, model_dir, tmp_path):
    """
    The suffix chooses the format, not the content; epoch milliseconds are a time too.
    """
    score(events, model_dir, tmp_path / "scores.csv")
    score(events, model_dir, tmp_path / "scores.parquet", as_of=str(AS_OF))
    with (tmp_path / "scores.csv").open() as file:
        from_csv = [
            row | {name: float(row[name]) for name in ("confidence", "churn_probability")}
            for row in csv.DictReader(file)
        ]

    assert from_csv == pq.read_table(tmp_path / "scores.parquet").to_pylist()


def test_nobody_known_yet_gives_an_empty_file(events, model_dir, tmp_path):
    """
    Before the first event there is nobody to score; the file has its columns all the same.
    """
    assert score(events, model_dir, tmp_path / "scores.csv", as_of="2020-01-01T00:00:00Z") == 0
    assert f"{','.join(COLUMNS)}\n" == (tmp_path / "scores.csv").read_text()


@pytest.mark.parametrize("when", ["2025-01-01T00:00:00", "yesterday", "-5"])
def test_a_moment_that_is_none_is_refused(events, model_dir, tmp_path, when, capsys):
    """
    A time without zone, or no time at all, is an error of the command line.
    """
    with pytest.raises(SystemExit):
        score(events, model_dir, tmp_path / "scores.csv", as_of=when)
    assert "--as-of" in capsys.readouterr().err


def test_an_unknown_suffix_is_refused_before_any_work(events, model_dir, tmp_path, capsys):
    """
    Only .csv and .parquet are written.
    """
    assert score(events, model_dir, tmp_path / "scores.xls") == 2
    assert "name a .csv or a .parquet file" in capsys.readouterr().err


def test_scoring_under_other_fold_rules_is_refused(
    events, model_dir, tmp_path, monkeypatch, capsys
):
    """
    Facts folded otherwise than in training are not scored.
    """
    monkeypatch.setenv("EBBTIDE_PASSIVE_TYPES", "page_view")

    assert score(events, model_dir, tmp_path / "scores.csv") == 2
    assert "fold rules" in capsys.readouterr().err


@pytest.fixture
def small_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo model, of a population that trains in a second."""
    monkeypatch.setattr(demo_model, "POPULATION", POPULATION)
    monkeypatch.setattr(
        demo_model, "SETTINGS", TrainingSettings(horizon_days=10, active_days=20, rows=900)
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.usefixtures("small_demo")
def test_a_fresh_installation_gets_the_same_model_everywhere(tmp_path):
    """
    Without a model one is trained on the simulator; twice gives the same bytes, metrics included.
    """
    demo_model.ensure(tmp_path / "one")
    demo_model.ensure(tmp_path / "two")

    assert "simulator" == load(tmp_path / "one").origin
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_model_that_is_there_is_left_alone(model_dir):
    """
    A model that loads is kept, whoever made it.
    """
    before = contents(model_dir)
    demo_model.ensure(model_dir)

    assert before == contents(model_dir)


@pytest.mark.usefixtures("small_demo")
def test_a_demo_model_of_another_build_is_made_anew(tmp_path):
    """
    After an upgrade the simulated model is simply trained again.
    """
    demo_model.ensure(tmp_path)
    before = contents(tmp_path)
    outdated(tmp_path)
    demo_model.ensure(tmp_path)

    assert before == contents(tmp_path)


def test_somebody_elses_model_is_never_overwritten(model_dir, tmp_path):
    """
    A model trained on real users that does not load is a matter for a person.
    """
    for name, content in contents(model_dir).items():
        (tmp_path / name).write_bytes(content)
    outdated(tmp_path)
    before = contents(tmp_path)

    with pytest.raises(ArtefactMismatch, match="scikit-learn"):
        demo_model.ensure(tmp_path)
    assert before == contents(tmp_path)


def test_a_pickle_without_its_manifest_is_never_overwritten(tmp_path):
    """
    Half a model is somebody's: its loss would be worse than a refusal to start.
    """
    (tmp_path / MODEL_FILE).write_bytes(b"months of work")

    with pytest.raises(ArtefactMismatch, match=r"manifest\.json"):
        demo_model.ensure(tmp_path)
    assert {MODEL_FILE: b"months of work"} == contents(tmp_path)


def outdated(folder: Path) -> None:
    """Make the model one of an older scikit-learn."""
    manifest = msgspec.json.decode((folder / MANIFEST_FILE).read_bytes())
    (folder / MANIFEST_FILE).write_bytes(msgspec.json.encode(manifest | {"sklearn": "1.0.2"}))
