"""From a log to a model: who is chosen, what is refused, and what silence does to the risk."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
import numpy as np
import pytest

from contracts.activity import FoldRules
from contracts.errors import Misconfigured
from contracts.events import ActivityEvent
from contracts.record import LEVELS
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS, NEVER, SESSION_GAP_MS
from model.artefact import (
    MANIFEST_FILE,
    MODEL_FILE,
    QUALITY_FILE,
    REPORT_FILE,
    load,
    load_beside,
)
from model.candidates import CANDIDATES
from model.dataset import facts_at
from model.event_log import EventLog, event_log
from model.features import FEATURES, features
from model.figures import Memory
from model.simulator import Population, simulate
from model.training import (
    METRICS_FILE,
    Trained,
    TrainingSettings,
    log_ends,
    silence_grid,
    train,
)

RULES = FoldRules()
POPULATION = Population(users=400, days=120, seed=3)
SETTINGS = TrainingSettings(horizon_days=10, active_days=20, rows=4_500, seed=1)


@pytest.fixture(scope="module")
def log() -> EventLog:
    return event_log(simulate(POPULATION), RULES)


@pytest.fixture(scope="module")
def trained(log) -> Trained:
    return train(log, SETTINGS, RULES, origin="simulator")


@pytest.fixture(scope="module")
def facts(log) -> np.ndarray:
    """(60,) FACTS of users as they stand at the end of the log."""
    user = np.arange(60)
    found = np.empty(60, next(facts_at(log, user, user, RULES))[1].dtype)
    for which, part in facts_at(log, user, np.full(60, POPULATION.end_ms), RULES):
        found[which] = part
    return found[found["last_seen"] != NEVER]


def silent_moments(last_seen: int) -> np.ndarray:
    """Silence from the last event to the end of the grid, hour by hour, and both sides of every
    midnight."""
    days = SETTINGS.silence_days
    hourly = last_seen + np.arange(0, days * DAY_MS, HOUR_MS)
    midnights = (last_seen // DAY_MS + np.arange(1, days)) * DAY_MS
    moments = [hourly, midnights - 1, midnights, midnights + 1, [last_seen + SESSION_GAP_MS]]
    return np.unique(np.concatenate(moments))


def test_what_its_page_shows_lies_beside_the_model(trained, tmp_path):
    """
    With a digest in the manifest, so that it is never told of another one.
    """
    model = trained.save(tmp_path)
    beside = load_beside(tmp_path, load(tmp_path).manifest)
    assert trained.quality == beside.quality
    assert model.version.encode() in (beside.report or b"")
    assert {METRICS_FILE, QUALITY_FILE, REPORT_FILE} == set(model.manifest.beside)


def test_longer_silence_never_lowers_the_risk(trained, facts, tmp_path):
    """
    Along a fine grid of silent futures, midnights included, the shipped model's score never falls.
    """
    model = trained.save(tmp_path)
    rises = 0.0
    for record in facts:
        moments = silent_moments(int(record["last_seen"]))
        risk = model.score(np.repeat(record, len(moments)), moments)
        assert (np.diff(risk) >= 0).all()
        rises += risk[-1] - risk[0]
    assert rises / len(facts) > 0.1


def test_the_model_tells_leavers_from_stayers(trained):
    """
    On a later period it was not fitted to, the chosen candidate ranks well and is calibrated.
    """
    chosen = trained.manifest.candidates[trained.manifest.candidate].overall

    assert chosen.auc > 0.8
    assert chosen.ece < 0.06
    assert chosen.log_loss < -(
        chosen.base_rate * np.log(chosen.base_rate)
        + (1 - chosen.base_rate) * np.log(1 - chosen.base_rate)
    )


def test_the_chosen_candidate_is_the_simplest_within_one_error(trained):
    """
    Every simpler candidate is behind the best by more than its standard error.
    """
    found = trained.manifest.candidates
    names = [candidate.name for candidate in CANDIDATES]
    chosen = names.index(trained.manifest.candidate)

    assert names == list(found)
    within = [found[name].behind_best <= found[name].behind_best_error for name in names]
    assert chosen == within.index(True)


def test_validation_comes_a_horizon_after_what_was_fitted(trained):
    """
    No training label can look into the validation period.
    """
    fitted_until = datetime.fromisoformat(trained.manifest.fitted_until)
    validated_from = datetime.fromisoformat(trained.manifest.validated_from)

    assert timedelta(days=SETTINGS.horizon_days) == validated_from - fitted_until


def test_the_ladder_and_the_grid_fit_the_stored_record(trained):
    """
    16 levels ascend within (0, 1), rounded like scores; the grid is whole hours from 1 to its end.
    """
    levels = np.array(trained.manifest.levels)
    grid = trained.manifest.grid_hours

    assert LEVELS == len(levels)
    assert (np.diff(levels) > 0).all()
    assert 0 < levels[0] < levels[-1] < 1
    assert np.round(levels, 6).tolist() == levels.tolist()
    assert (1, 24 * SETTINGS.silence_days) == (grid[0], grid[-1])


@pytest.mark.parametrize("days", [1, 2, 60, 180, 730])
def test_a_silence_grid_is_about_48_whole_hours(days):
    """
    Hours ascend from 1 to the end; a short grid has every hour.
    """
    grid = silence_grid(days)

    assert (1, 24 * days) == (grid[0], grid[-1])
    assert list(grid) == sorted(set(grid))
    assert min(48, 24 * days) <= len(grid) <= 50


def test_same_log_and_seed_give_the_same_bytes(log, trained, tmp_path):
    """
    Training twice writes the same metrics, manifest and pickle.
    """
    trained.save(tmp_path / "one")
    train(log, SETTINGS, RULES, origin="simulator").save(tmp_path / "two")

    for name in (METRICS_FILE, MANIFEST_FILE, MODEL_FILE):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_what_was_trained_can_be_loaded(trained, facts, tmp_path):
    """
    The model read back gives the scores of the one written.
    """
    written = trained.save(tmp_path)
    read = load(tmp_path, trusted_sha256=written.manifest.sha256)
    as_of = facts["last_seen"] + DAY_MS

    assert written.version == read.version
    np.testing.assert_array_equal(written.score(facts, as_of), read.score(facts, as_of))


def test_no_score_is_given_beyond_the_grid(trained, facts, tmp_path):
    """
    Who is silent for longer than the grid keeps the score of its end.
    """
    model = trained.save(tmp_path)
    end = facts["last_seen"] + int(model.grid_hours[-1]) * HOUR_MS

    np.testing.assert_array_equal(model.score(facts, end), model.score(facts, end + 400 * DAY_MS))


def test_metrics_are_terse_and_complete(trained, tmp_path):
    """
    metrics.json has every candidate's figures, per stratum too, and the four-input estimator's.
    """
    trained.save(tmp_path)
    written = msgspec.json.decode((tmp_path / METRICS_FILE).read_bytes())

    assert {"lr", "hgb", "rf"} == set(written["candidates"])
    assert {"instant", "session_end", "silence"} == set(written["candidates"]["lr"]["strata"])
    assert written["predict"]["auc"] > 0.5
    assert written["rows"]["total"] == SETTINGS.rows


def test_too_short_a_log_is_refused_saying_how_much_there_is(log):
    """
    A + 3 H days are needed; the message has the days there are and the days needed.
    """
    settings = TrainingSettings(horizon_days=40, active_days=30)

    with pytest.raises(Misconfigured, match=r"too little history: 1(19|20)\.\d days .* need 150"):
        train(log, settings, RULES, origin="simulator")


def test_a_log_in_which_everybody_stays_is_refused():
    """
    With one outcome only there is nothing to learn; the message says which.
    """
    daily = event_log(
        (
            ActivityEvent(
                user_id=f"u{user}",
                type="page_view",
                occurred_at=POPULATION.start_ms + day * DAY_MS + user * MINUTE_MS,
            )
            for day in range(60)
            for user in range(5)
        ),
        RULES,
    )

    with pytest.raises(Misconfigured, match="every user stays"):
        train(daily, TrainingSettings(horizon_days=10, active_days=10), RULES, origin="x")


def test_a_log_without_activity_is_refused():
    """
    E-mails alone teach nothing.
    """
    mails = event_log(
        [ActivityEvent(user_id="ada", type="email_sent", occurred_at=POPULATION.start_ms)], RULES
    )

    with pytest.raises(Misconfigured, match="no activity"):
        train(mails, SETTINGS, RULES, origin="x")


def test_progress_is_told_step_by_step(log):
    """
    Whoever waits hears of the replay, of every candidate and of the refit.
    """
    said: list[str] = []
    few = TrainingSettings(horizon_days=10, active_days=20, rows=900)
    train(log, few, RULES, origin="simulator", say=said.append)

    for step in ("replaying", "logistic regression", "boosting", "random forest", "refitting"):
        assert any(step in line for line in said)


def test_a_forest_is_compared_but_never_chosen(trained):
    """
    What is shipped adds up in log-odds, so that its reasons do.
    """
    shipped = [name for name, one in trained.manifest.candidates.items() if one.is_shipped]

    assert ["lr", "hgb"] == shipped
    assert trained.manifest.candidate in shipped


def test_calibration_is_reported_along_a_silence(trained):
    """
    Right after an event, at the end of a session, days into the silence, and for newcomers.
    """
    silence = trained.manifest.silence

    assert ["after event", "session end", "1 d silent", "3 d silent"] == list(silence)[:4]
    assert "newcomers" in silence
    # Who has been away for longer leaves more often: the probes are what they say.
    assert silence["session end"].base_rate < silence["7 d silent"].base_rate


def test_every_period_is_predicted_from_what_came_an_embargo_before(trained):
    """
    Also with a delay of labels, which lengthens the embargo.
    """
    for period in trained.manifest.periods:
        start, until = (datetime.fromisoformat(t) for t in (period.start, period.fitted_until))
        assert timedelta(days=SETTINGS.horizon_days) == start - until


def test_a_delay_of_labels_needs_more_history(log):
    """
    A + 3 (H + D) days are needed.
    """
    late = TrainingSettings(horizon_days=10, active_days=20, label_delay_days=30)

    with pytest.raises(Misconfigured, match=r"need 140 .*delay included"):
        train(log, late, RULES, origin="simulator")


def test_a_type_that_only_follows_churn_is_refused(log):
    """
    Returns booked long after everybody's last visit would tell who has gone.
    """
    seen = zip(log.user[log.active], log.rows["occurred_at"][log.active], strict=True)
    last = {log.user_ids[user]: int(when) for user, when in seen}
    telling = [
        ActivityEvent(user_id=user, type="return", occurred_at=when + 11 * DAY_MS)
        for user, when in last.items()
    ]
    events = [event for event in simulate(POPULATION) if event.type != "return"]

    with pytest.raises(Misconfigured, match="return: occurs only once a user has churned"):
        train(event_log([*events, *telling], RULES), SETTINGS, RULES, origin="x")


def test_a_tenure_the_log_cannot_know_is_unknown_in_scoring_too(trained, log, facts, tmp_path):
    """
    Of users first seen in the first active days who never stated a sign-up, training and scoring
    read none; everybody else keeps theirs.
    """
    model = trained.save(tmp_path)
    early = np.repeat(facts[:1], 2)
    early["signup_at"] = NEVER, early["first_seen"][0]
    early["first_seen"] = log_ends(log)[0]
    as_of = early["last_seen"] + DAY_MS
    values = features(early, as_of)
    values[0, [feature.name for feature in FEATURES].index("tenure_days")] = np.nan

    assert log_ends(log)[0] + SETTINGS.active_days * DAY_MS == model.manifest.tenure_since
    expected = np.round(model.full.predict_proba(values)[:, 1], 6)
    assert expected.tolist() == model.score(early, as_of).tolist()


def test_what_is_not_learned_from_is_not_fitted_to(log, trained, monkeypatch):
    """
    With a short memory the rows of the model all lie within it, and there are as many as asked.
    """
    days = 60
    monkeypatch.setattr("model.training.choose_memory", lambda *_: Memory(days, 0.01, 0.001))
    manifest = train(log, SETTINGS, RULES, origin="simulator").manifest
    start, end = (datetime.fromisoformat(t) for t in (manifest.training.start,
                                                      manifest.training.end))  # fmt: skip

    assert timedelta(days=days) >= end - start
    assert trained.manifest.rows["total"] == manifest.rows["total"]
    assert any(f"learned from the last {days} days" in note for note in manifest.notes)
    assert all(period.rows for period in manifest.periods)


def test_the_threshold_of_the_default_rule_is_a_rung_of_the_ladder(trained, tmp_path):
    """
    With what every rung would have been worth: the higher one, the fewer alerts and the less in
    time; it survives the way to disk, and the scorer speaks of it.
    """
    found = trained.manifest.alert_threshold
    model = trained.save(tmp_path)

    assert found.level in trained.manifest.levels
    assert trained.manifest.levels == tuple(rung.level for rung in found.rungs)
    in_time = [rung.in_time for rung in found.rungs]
    assert (np.diff(in_time) <= 0.02).all()
    assert in_time[0] > 0.5
    assert found == load(tmp_path).manifest.alert_threshold
    assert found.level == model.alert_threshold
