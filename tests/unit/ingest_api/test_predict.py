"""`POST /predict` and `/predict/batch`."""

from __future__ import annotations

import asyncio
import json
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from contracts.activity import FoldRules
from contracts.events import (
    EVENT_ROW,
    MAX_TENURE_DAYS,
    MAX_TOTAL_MINUTES,
    MAX_TOTAL_PAGES,
    LogPlace,
    decode,
    row,
)
from contracts.metrics import Metric
from contracts.times import DAY_MS, from_ms
from ingest_api.inputs import MAX_BATCH_BYTES, MAX_BYTES
from ingest_api.snapshots import QUEUED_MOST
from model.artefact import KeptInputs, Model
from model.fold import fold
from tests.unit.ingest_api.stand import NOON, TOTALS, an_additive_model, seen, standing

RULES = FoldRules()
JSON = {"content-type": "application/json"}


async def test_the_plain_question_has_exactly_the_plain_answer(gateway):
    """
    Four totals give a class and its probability, and nothing else.
    """
    answer = await gateway.http.post("/predict", json=TOTALS)

    assert (200, "application/json") == (answer.status_code, answer.headers["content-type"])
    assert {"prediction": "0", "confidence": 0.88} == answer.json()


@pytest.mark.parametrize(
    ("pages", "prediction", "confidence"), [(49, "0", 0.51), (50, "1", 0.5), (82, "1", 0.82)]
)
async def test_confidence_is_the_probability_of_the_predicted_class(
    gateway, pages, prediction, confidence
):
    """
    From the cut-off on the answer is "1" with the churn probability, below it "0" with the rest.
    """
    answer = await gateway.http.post("/predict", json=TOTALS | {"pages_visited": pages})

    assert {"prediction": prediction, "confidence": confidence} == answer.json()


async def test_explain_adds_the_model_and_the_evidence(gateway):
    """
    ?explain=true says what was scored, by which model, and that no behaviour stands behind it.
    """
    answer = await gateway.http.post("/predict?explain=true", json=TOTALS)

    assert {
        "prediction": "0",
        "confidence": 0.88,
        "basis": "inputs",
        "churn_probability": 0.12,
        "model_version": "linear-1",
        "horizon_days": 14,
        "origin": "a test",
        "evidence": {"events": 0, "active_days": 0, "usual_gap_hours": None, "missing": []},
    } == answer.json()


BAD = {
    "a number in quotes": ({"pages_visited": "12"}, "pages_visited", "remove the quotes"),
    "true as a number": ({"pages_visited": True}, "pages_visited", "whole number"),
    "half a page": ({"pages_visited": 1.5}, "pages_visited", "whole number"),
    "below the range": ({"time_spent": -0.1}, "time_spent", "from 0 to 50000000"),
    "too many pages": ({"pages_visited": MAX_TOTAL_PAGES + 1}, "pages_visited", "100000000"),
    "too long": ({"time_spent": MAX_TOTAL_MINUTES * 1.01}, "time_spent", "50000000"),
    "too old": ({"days_since_signup": MAX_TENURE_DAYS + 1}, "days_since_signup", "36500"),
    "not a number": ({"time_spent": float("nan")}, "time_spent", "NaN"),
    "infinity": ({"days_since_signup": float("inf")}, "days_since_signup", "Infinity"),
    "minus infinity": ({"time_spent": float("-inf")}, "time_spent", "-Infinity"),
    "one as a flag": ({"is_logged_in": 1}, "is_logged_in", "true or false"),
    "a flag in quotes": ({"is_logged_in": "true"}, "is_logged_in", "true or false"),
    "null": ({"time_spent": None}, "time_spent", "number"),
    "a list": ({"time_spent": [1]}, "time_spent", "number"),
    "unknown": ({"pages": 3}, "pages", "not a field"),
    "an empty user": ({"user_id": ""}, "user_id", "1 to 256"),
    "a number as user": ({"user_id": 7}, "user_id", "text"),
    "a long place": ({"location": "x" * 257}, "location", "1 to 256"),
}


@pytest.mark.parametrize("case", BAD)
async def test_bad_input_is_refused_naming_the_field_and_what_would_fit(gateway, case):
    """
    Whatever is out of range, of another type or unknown gives a 422 problem that names it.
    """
    change, field, words = BAD[case]

    answer = await gateway.http.post("/predict", content=json.dumps(TOTALS | change), headers=JSON)

    problem = answer.json()
    assert (422, "application/problem+json") == (
        answer.status_code,
        answer.headers["content-type"],
    )
    assert {"type", "title", "status", "detail", "errors"} == problem.keys()
    assert [field] == [error["field"] for error in problem["errors"]]
    assert words in problem["errors"][0]["reason"]
    assert field in problem["detail"]


@pytest.mark.parametrize("field", TOTALS)
async def test_each_of_the_four_inputs_is_required(gateway, field):
    """
    Leaving one out is a 422 that says so.
    """
    body = {name: value for name, value in TOTALS.items() if name != field}

    answer = await gateway.http.post("/predict", json=body)

    (error,) = answer.json()["errors"]
    assert (422, field) == (answer.status_code, error["field"])
    assert error["reason"].startswith("required")


async def test_every_bad_field_is_named_at_once(gateway):
    """
    A client with three mistakes hears of three, not of one after the other.
    """
    body = TOTALS | {"pages_visited": "12", "time_spent": -1, "colour": "red"}

    errors = (await gateway.http.post("/predict", json=body)).json()["errors"]

    assert ["pages_visited", "time_spent", "colour"] == [error["field"] for error in errors]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"pages_visited": 12,}',
        b"\xff\xfe",
        json.dumps([TOTALS]).encode("utf-16"),
        b"nope",
        b"[" * 10_000,
        b'{"a": NaN',
    ],
    ids=["empty", "cut", "comma", "no UTF-8", "UTF-16", "word", "deep", "cut NaN"],
)
async def test_what_is_no_json_is_a_400(gateway, body):
    """
    A body no parser takes is told apart from one with wrong values.
    """
    for path in ("/predict", "/predict/batch", "/events"):
        answer = await gateway.http.post(path, content=body, headers=JSON)

        assert (400, 400) == (answer.status_code, answer.json()["status"]), path
        assert "urn:ebbtide:problem:malformed" == answer.json()["type"]


@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
async def test_half_a_character_in_a_name_is_no_json(gateway, path):
    """
    A lone surrogate is refused wherever it stands, also where an error would quote it.
    """
    item = r'{"pages_visited": -1, "\ud800": 1}'
    body = item if path == "/predict" else f'{{"items": [{item}]}}'

    answer = await gateway.http.post(path, content=body, headers=JSON)

    assert (400, "urn:ebbtide:problem:malformed") == (
        answer.status_code,
        answer.json()["type"],
    )


async def test_a_client_that_leaves_is_no_fault_of_the_gateway(gateway):
    """
    A body that ends with its connection is counted as a bad request and logs no error.
    """
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
        "scheme": "http", "path": "/predict", "raw_path": b"/predict", "query_string": b"",
        "root_path": "", "headers": [(b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1), "server": ("gateway", 80),
    }  # fmt: skip
    received = iter(
        [
            {"type": "http.request", "body": b'{"pages', "more_body": True},
            {"type": "http.disconnect"},
        ]
    )

    async def receive():
        return next(received)

    async def send(_):
        pass

    await gateway.app(scope, receive, send)

    lines = (await gateway.http.get("/metrics")).text.splitlines()
    assert f'{Metric.REQUESTS}{{route="/predict",status="400"}} 1.0' in lines


@pytest.mark.parametrize("body", [[], [TOTALS], "text", 12, None])
async def test_json_that_is_no_object_is_a_422(gateway, body):
    """
    A list, text, number or null in place of the object is refused saying what is expected.
    """
    answer = await gateway.http.post("/predict", content=json.dumps(body), headers=JSON)

    assert 422 == answer.status_code
    assert "must be an object with pages_visited" in answer.json()["detail"]


async def test_a_body_must_say_that_it_is_json(gateway):
    """
    A form, as a foreign web page could send through a visitor's browser, is a 415.
    """
    for headers in ({"content-type": "application/x-www-form-urlencoded"}, {}):
        answer = await gateway.http.post("/predict", content=json.dumps(TOTALS), headers=headers)

        assert 415 == answer.status_code
        assert "application/json" in answer.json()["detail"]


async def test_too_long_a_body_is_a_413(gateway):
    """
    More bytes than are taken are refused, announced or not.
    """

    async def unannounced():
        for _ in range(MAX_BYTES // 1000 + 1):
            yield b" " * 1000

    announced = await gateway.http.post("/predict", content=b" " * (MAX_BYTES + 1), headers=JSON)
    streamed = await gateway.http.post("/predict", content=unannounced(), headers=JSON)
    batch = b" " * (MAX_BATCH_BYTES + 1)
    many = await gateway.http.post("/predict/batch", content=batch, headers=JSON)

    assert [413, 413, 413] == [announced.status_code, streamed.status_code, many.status_code]
    assert "application/problem+json" == streamed.headers["content-type"]


async def test_a_user_id_queues_a_snapshot_event(gateway):
    """
    With a user_id the totals go to Kafka as a snapshot, complete with id, time and headers.
    """
    body = TOTALS | {"user_id": "ada", "location": "Oslo", "device_type": "phone"}

    answer = await gateway.http.post("/predict", json=body)
    await gateway.log.tried.wait()

    (message,) = gateway.log.messages
    event = decode(message.value)
    assert {"prediction": "0", "confidence": 0.88} == answer.json()
    assert ("snapshot", "ada", 12, 180.5, 10.0, True) == (
        event.type,
        event.user_id,
        event.pages_visited,
        event.time_spent,
        event.days_since_signup,
        event.is_logged_in,
    )
    assert ("Oslo", None, "phone") == (event.location, event.referral_source, event.device_type)
    assert (b"ada", NOON, from_ms(NOON)) == (message.key, message.timestamp_ms, event.occurred_at)
    assert dict(message.headers)["ce_id"].decode() == event.event_id


async def test_without_a_user_id_nothing_is_published(gateway):
    """
    Totals of nobody leave no trace.
    """
    await gateway.http.post("/predict", json=TOTALS)
    await gateway.http.post("/predict", json=TOTALS | {"user_id": "ada"})
    await gateway.log.tried.wait()

    assert [b"ada"] == [message.key for message in gateway.log.messages]


async def test_refused_totals_are_not_published(gateway):
    """
    A bad request with a user_id is not recorded either.
    """
    await gateway.http.post("/predict", json=TOTALS | {"user_id": "bob", "time_spent": -1})
    await gateway.http.post("/predict", json=TOTALS | {"user_id": "ada"})
    await gateway.log.tried.wait()

    assert [b"ada"] == [message.key for message in gateway.log.messages]


async def test_predict_answers_with_kafka_and_redis_away(gateway):
    """
    With both gone the answer is the same; the snapshot is dropped and counted.
    """
    gateway.log.away = 0
    gateway.redis.away = True

    answer = await gateway.http.post("/predict", json=TOTALS | {"user_id": "ada"})

    assert (200, {"prediction": "0", "confidence": 0.88}) == (answer.status_code, answer.json())
    await gateway.log.tried.wait()
    assert 1 == await gateway.metric(Metric.SNAPSHOTS_DROPPED)


async def test_a_full_queue_drops_and_counts(gateway):
    """
    While Kafka hangs, what the queue does not hold is dropped and counted, and answers go on.
    """
    gateway.log.hangs = True
    items = [TOTALS | {"user_id": f"u{i}"} for i in range(1000)]

    for _ in range(QUEUED_MOST // 1000 + 1):
        answer = await gateway.http.post("/predict/batch", json={"items": items})
        assert 200 == answer.status_code

    # What the publisher took before it hung is out of the queue.
    assert 0 < await gateway.metric(Metric.SNAPSHOTS_DROPPED) <= 1000


@pytest.mark.parametrize(
    ("pages", "prediction", "probability"), [(3, "1", 0.7), (12, "0", 0.0)], ids=["known", "more"]
)
async def test_basis_record_scores_the_record_with_the_request_in_it(
    gateway, pages, prediction, probability
):
    """
    ?basis=record folds the totals into what is known of the user: totals on record leave a silence
    as it is, a higher one means that the user is there. It says so.
    """
    await gateway.redis.keep("ada", seen(NOON - 7 * DAY_MS))

    url = "/predict?basis=record&explain=true"
    body = TOTALS | {"user_id": "ada", "pages_visited": pages, "time_spent": 0}
    answer = await gateway.http.post(url, json=body)

    body = answer.json()
    assert ("record", "record") == (answer.headers["Ebbtide-Basis"], body["basis"])
    assert (prediction, max(probability, 1 - probability), probability, 5) == (
        body["prediction"],
        body["confidence"],
        body["churn_probability"],
        body["evidence"]["events"],
    )


async def test_basis_record_equals_the_score_after_the_snapshot(gateway):
    """
    What ?basis=record says is what the user's page says once the scorer has read the request.
    """
    await gateway.redis.keep("ada", seen(NOON - 7 * DAY_MS))
    totals = TOTALS | {"user_id": "ada"}
    asked = await gateway.http.post("/predict?basis=record&explain=true", json=totals)
    await gateway.log.tried.wait()
    (message,) = gateway.log.messages
    place = LogPlace(2, 0, 42, message.timestamp_ms)
    event = np.array([row(decode(message.value), place, RULES)], EVENT_ROW)
    record = seen(NOON - 7 * DAY_MS)
    record["facts"] = fold(record["facts"], event, np.zeros(1, np.intp), RULES)
    await gateway.redis.keep("ada", record)

    page = (await gateway.http.get("/users/ada")).json()

    assert asked.json()["churn_probability"] == page["score"]["churn_probability"]
    assert asked.json()["evidence"] == page["evidence"]


async def test_every_answer_says_what_was_scored_and_by_whom(gateway):
    """
    Basis and origin are headers of every prediction, explained or not.
    """
    for path, body in (("/predict", TOTALS), ("/predict/batch", {"items": [TOTALS]})):
        answer = await gateway.http.post(path, json=body)

        assert ("inputs", "a test") == (
            answer.headers["Ebbtide-Basis"],
            answer.headers["Ebbtide-Origin"],
        )


async def test_inputs_learned_elsewhere_are_said_to_be():
    """
    The answer to totals carries the origin and horizon of the estimator that gave it; the answer
    of the record those of the log's own.
    """
    model = an_additive_model()
    manifest = structs.replace(model.manifest, kept_inputs=KeptInputs("simulator", 7))
    async with standing(model=Model(manifest, model.full, model.inputs)) as gateway:
        await gateway.redis.keep("ada", seen(NOON - 7 * DAY_MS))
        answers = {
            basis: await gateway.http.post(
                f"/predict?explain=true&basis={basis}", json=TOTALS | {"user_id": "ada"}
            )
            for basis in ("inputs", "record")
        }

    assert {"inputs": ("simulator", 7), "record": ("a test", 14)} == {
        basis: (answer.json()["origin"], answer.json()["horizon_days"])
        for basis, answer in answers.items()
    }
    assert {"inputs": "simulator", "record": "a test"} == {
        basis: answer.headers["Ebbtide-Origin"] for basis, answer in answers.items()
    }


@pytest.mark.parametrize("basis", ["inputs", "record"])
async def test_explain_takes_the_score_apart(basis):
    """
    Base and contributions are the log-odds of the probability, of inputs and of a record.
    """
    async with standing(model=an_additive_model()) as gateway:
        await gateway.redis.keep("ada", seen(NOON - 7 * DAY_MS))
        url = f"/predict?explain=true&basis={basis}"

        body = (await gateway.http.post(url, json=TOTALS | {"user_id": "ada"})).json()

    told = body["explanation"]
    log_odds = told["base"] + sum(reason["contribution"] for reason in told["reasons"])
    assert body["churn_probability"] == pytest.approx(1 / (1 + math.exp(-log_odds)), abs=2e-6)
    concepts = {"frequency", "tenure", "context"}
    if basis == "record":
        concepts |= {"recency", "trend", "money"}
    assert concepts == {reason["concept"] for reason in told["reasons"]}


@pytest.mark.parametrize("trouble", ["away", "hangs", "unknown"])
async def test_basis_record_falls_back_to_the_inputs(gateway, trouble):
    """
    A store that is down or slow, or an unknown user, means the inputs count, and it is said.
    """
    if trouble != "unknown":
        await gateway.redis.keep("ada", seen(NOON - 7 * DAY_MS))
        setattr(gateway.redis, trouble, True)

    async with asyncio.timeout(1):
        answer = await gateway.http.post("/predict?basis=record", json=TOTALS | {"user_id": "ada"})

    assert "inputs" == answer.headers["Ebbtide-Basis"]
    assert {"prediction": "0", "confidence": 0.88, "basis": "inputs"} == answer.json()


async def test_basis_record_needs_a_user(gateway):
    """
    Without a user_id there is no record to score.
    """
    answer = await gateway.http.post("/predict?basis=record", json=TOTALS)

    assert (422, "user_id") == (answer.status_code, answer.json()["errors"][0]["field"])


async def test_a_batch_is_answered_in_order(gateway):
    """
    Many items in, as many predictions out, each the one it has alone.
    """
    items = [TOTALS | {"pages_visited": pages} for pages in (82, 12)]

    answer = await gateway.http.post("/predict/batch", json={"items": items})

    assert {
        "predictions": [
            {"prediction": "1", "confidence": 0.82},
            {"prediction": "0", "confidence": 0.88},
        ]
    } == answer.json()


async def test_a_batch_may_be_empty(gateway):
    """
    No items, no predictions.
    """
    answer = await gateway.http.post("/predict/batch", json={"items": []})

    assert (200, {"predictions": []}) == (answer.status_code, answer.json())


async def test_a_bad_batch_names_item_and_field(gateway):
    """
    Errors of a batch say which item they are about.
    """
    items = [TOTALS, TOTALS | {"time_spent": float("nan")}, TOTALS, 5, TOTALS | {"x": 1}]

    body = json.dumps({"items": items})
    answer = await gateway.http.post("/predict/batch", content=body, headers=JSON)

    fields = [error["field"] for error in answer.json()["errors"]]
    assert (422, ["items[1].time_spent", "items[3]", "items[4].x"]) == (answer.status_code, fields)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "items"),
        ({"items": TOTALS}, "items"),
        ([], "items"),
        ({"items": [], "more": 1}, "more"),
        ({"items": [TOTALS] * 1001}, "items"),
    ],
    ids=["none", "object", "list", "unknown", "too many"],
)
async def test_a_batch_of_another_shape_is_a_422(gateway, body, field):
    """
    A batch without its list, with too long a one or with more beside it is refused.
    """
    answer = await gateway.http.post("/predict/batch", json=body)

    assert (422, field) == (answer.status_code, answer.json()["errors"][0]["field"])


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    changes=st.dictionaries(
        st.sampled_from([*TOTALS, "user_id", "location", "other"]), JSON_VALUES, max_size=3
    )
)
async def test_no_input_breaks_predict(changes):
    """
    Whatever stands in the fields, the answer is a prediction or a problem that names one of them.
    """
    async with standing() as gateway:
        body = json.dumps(TOTALS | changes)
        answer = await gateway.http.post("/predict", content=body, headers=JSON)

    if answer.status_code == 200:
        assert {"prediction", "confidence"} == answer.json().keys()
    else:
        assert 422 == answer.status_code
        assert {error["field"] for error in answer.json()["errors"]} <= changes.keys()
        assert answer.json()["errors"]
