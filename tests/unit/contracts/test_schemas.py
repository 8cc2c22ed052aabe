"""The generated documents: current, and true of what is on the wire."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

from contracts.alerts import ChurnAlert, encode_alert
from contracts.commands import AlertCommand, encode_command
from contracts.errors import BadRecord
from contracts.events import ActivityEvent, convert, encode
from contracts.schemas import TOPICS, async_api, documents, json_schema
from contracts.scores import (
    Attributes,
    ChurnScore,
    Crossing,
    Evidence,
    Position,
    Reason,
    encode_score,
)
from contracts.times import from_ms
from contracts.topics import ACTIVITY, ALERTS, COMMANDS, SCORES, dead_letter

FOLDER = Path(__file__).parents[3] / "docs" / "schemas"
VALIDATORS = {
    kind: Draft202012Validator(json_schema(kind), format_checker=FormatChecker())
    for kind in (ActivityEvent, ChurnScore, ChurnAlert, AlertCommand)
}

instants = st.integers(0, 4_102_444_799_999).map(from_ms)
texts = st.text(min_size=1, max_size=20)
probabilities = st.floats(0, 1).map(lambda value: round(value, 6))
positions = st.builds(Position, *[st.integers(0, 2**40)] * 3)
evidences = st.builds(
    Evidence,
    events=st.integers(0, 2**32),
    active_days=st.integers(0, 10_000),
    usual_gap_hours=st.none() | st.floats(0, 1e6),
    missing=st.lists(texts, max_size=2).map(tuple),
)
attributes = st.builds(
    Attributes, *[st.none() | texts] * 4, value=st.floats(-1e9, 1e9, allow_nan=False)
)
common = {
    "user_id": texts,
    "churn_probability": probabilities,
    "previous_probability": st.none() | probabilities,
    "trigger": st.sampled_from(["activity", "silence", "model"]),
    "last_seen_at": st.none() | instants,
    "at_risk_at": st.none() | instants,
    "horizon_days": st.integers(1, 365),
    "model_version": texts,
    "origin": texts,
    "evidence": evidences,
    "attributes": attributes,
    "position": positions,
}
reasons = st.lists(
    st.builds(Reason, contribution=st.floats(-9, 9), text=texts, value=st.none() | st.just(2.5)),
    max_size=2,
).map(tuple)
scores = st.builds(
    ChurnScore,
    score_id=texts,
    prediction=st.sampled_from(["0", "1"]),
    confidence=probabilities,
    scored_at=instants,
    cancelled=st.booleans(),
    crossings=st.lists(st.builds(Crossing, probabilities, instants), max_size=3).map(tuple),
    reasons=reasons,
    **common,
)
alerts = st.builds(
    ChurnAlert,
    alert_id=texts,
    dedup_key=texts,
    kind=st.sampled_from(["opened", "escalated", "resolved", "churned"]),
    rule=texts,
    threshold=probabilities,
    occurred_at=instants,
    opened_at=instants,
    reasons=reasons,
    **common,
)
commands = st.builds(
    AlertCommand,
    command_id=texts,
    user_id=texts,
    dedup_key=texts,
    kind=st.sampled_from(["acknowledge", "snooze", "verdict"]),
    until=st.none() | instants,
    verdict=st.none() | st.sampled_from(["helped", "wrong", "duplicate"]),
    note=st.just("") | texts,
    actor=st.just("") | texts,
    at=instants,
)
numbers = st.none() | st.integers(-2, 2 * 10**8) | st.floats(-10, 1e8, allow_nan=False)
events = st.fixed_dictionaries(
    {"user_id": texts, "type": st.sampled_from(["page_view", "snapshot", "mine: x", "bad\n", ""])},
    optional={
        "event_id": texts,
        "occurred_at": instants.map(lambda moment: moment.isoformat()) | st.integers(0, 10**12),
        "pages_visited": numbers,
        "time_spent": numbers,
        "days_since_signup": numbers,
        "is_logged_in": st.none() | st.booleans(),
        "location": st.none() | texts,
        "value": numbers,
        "properties": st.dictionaries(texts, st.none() | texts, max_size=2),
        "colour": texts,
    },
)


@pytest.mark.parametrize("name", documents())
def test_the_committed_documents_are_current(name: str) -> None:
    """
    What is in docs/schemas is what the types say now: `python -m contracts.schemas --write`.
    """
    assert documents()[name] == (FOLDER / name).read_text()


def test_nothing_else_is_in_the_folder() -> None:
    """
    A document whose type is gone is gone.
    """
    assert set(documents()) == {path.name for path in FOLDER.iterdir()}


@pytest.mark.parametrize("kind", VALIDATORS)
def test_schemas_are_schemas(kind: type) -> None:
    """
    Each is valid under the JSON Schema it names.
    """
    Draft202012Validator.check_schema(json_schema(kind))


@given(score=scores)
def test_scores_on_the_wire_fit_their_schema(score: ChurnScore) -> None:
    """
    Whatever a score says, its bytes validate.
    """
    VALIDATORS[ChurnScore].validate(json.loads(encode_score(score)))


@given(alert=alerts)
def test_alerts_on_the_wire_fit_their_schema(alert: ChurnAlert) -> None:
    """
    Whatever an alert says, its bytes validate.
    """
    VALIDATORS[ChurnAlert].validate(json.loads(encode_alert(alert)))


@given(command=commands)
def test_commands_on_the_wire_fit_their_schema(command: AlertCommand) -> None:
    """
    Whatever a command says, its bytes validate.
    """
    VALIDATORS[AlertCommand].validate(json.loads(encode_command(command)))


@given(stated=events)
def test_events_we_accept_fit_the_schema(stated: dict[str, Any]) -> None:
    """
    An event that is accepted validates, as it came and as it goes on.
    """
    try:
        event = convert(stated)
    except BadRecord:
        return

    VALIDATORS[ActivityEvent].validate(stated)
    VALIDATORS[ActivityEvent].validate(json.loads(encode(event)))


@pytest.mark.parametrize(
    "change",
    [
        {"user_id": ""},
        {"user_id": None},
        {"type": ""},
        {"pages_visited": -1},
        {"pages_visited": "3"},
        {"time_spent": 5e7 + 1},
        {"value": 1e10},
        {"is_logged_in": 1},
        {"colour": "red"},
        {"occurred_at": [1]},
    ],
    ids=str,
)
def test_events_the_schema_refuses_are_refused(change: dict[str, Any]) -> None:
    """
    A producer that checks against the schema finds what the types would refuse.
    """
    stated = {"user_id": "ada", "type": "login"} | change

    assert not VALIDATORS[ActivityEvent].is_valid(stated)
    with pytest.raises(BadRecord):
        convert(stated)


def test_moments_are_marked_as_such() -> None:
    """
    Readers of the schema learn which strings are times.
    """
    properties = json_schema(ChurnScore)["$defs"]["ChurnScore"]["properties"]

    assert {"type": "string", "format": "date-time"} == properties["scored_at"]
    assert {"type": "string", "format": "date-time"} in properties["at_risk_at"]["anyOf"]


def test_the_async_api_names_every_topic_and_its_dead_letters() -> None:
    """
    Topics, keys and headers are described, and every reference leads somewhere.
    """
    document = async_api()

    names = [topic.name for topic in TOPICS]
    assert [ACTIVITY, SCORES, ALERTS, COMMANDS] == names
    assert {*names, *map(dead_letter, names)} == document["channels"].keys()
    assert {"compact"} == set(
        document["channels"][SCORES]["bindings"]["kafka"]["topicConfiguration"]["cleanup.policy"]
    )
    headers = document["components"]["messages"]["ActivityEvent"]["headers"]["properties"]
    assert {"ce_id", "ce_source", "ce_type", "ce_time", "ce_specversion"} <= headers.keys()
    for reference in references(document):
        found: Any = document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]


def references(part: object) -> set[str]:
    """Every $ref in a document."""
    if isinstance(part, dict):
        own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
        return own.union(*(references(child) for child in part.values()))
    if isinstance(part, list):
        return set().union(*(references(child) for child in part))
    return set()
