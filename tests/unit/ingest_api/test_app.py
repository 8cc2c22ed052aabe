"""The gateway as a whole: health, model, errors, documentation, its start."""

from __future__ import annotations

import asyncio

import pytest
from jsonschema import Draft202012Validator

from contracts.metrics import Metric
from contracts.times import from_ms
from ingest_api.app import create_app
from ingest_api.records import RedisUsers
from model.features import FEATURES
from runtime import keys
from tests.unit.ingest_api.stand import NOON, TOTALS, MemoryLog, ServingRedis, a_model, seen

PROBLEM = "application/problem+json"


async def test_alive_is_alive_whatever_is_away(gateway):
    """
    /livez asks nobody.
    """
    gateway.log.away, gateway.redis.away = 0, True

    answer = await gateway.http.get("/livez")

    assert (200, {"status": "alive"}) == (answer.status_code, answer.json())


async def test_ready_tells_of_each_dependency(gateway):
    """
    With all there, all are ok, strictly asked too; the gateway's now comes with it.
    """
    for path in ("/readyz", "/readyz?need=events"):
        answer = await gateway.http.get(path)

        assert 200 == answer.status_code
        assert {
            "status": "ready", "model": "linear-1", "kafka": "ok", "redis": "ok",
            "as_of": from_ms(gateway.now).isoformat().replace("+00:00", "Z"),
        } == answer.json()  # fmt: skip


async def test_ready_without_kafka_unless_events_are_needed(gateway):
    """
    The model serves without Kafka; who needs events is told 503.
    """
    gateway.log.away, gateway.redis.away = 0, True

    lenient = await gateway.http.get("/readyz")
    strict = await gateway.http.get("/readyz?need=events")

    assert [200, 503] == [lenient.status_code, strict.status_code]
    assert PROBLEM == strict.headers["content-type"]
    for answer in (lenient, strict):
        assert "Kafka does not answer: it is a test" == answer.json()["kafka"]
        assert answer.json()["redis"].startswith("Redis, ")


async def test_ready_waits_for_nobody_for_long(gateway):
    """
    A dependency that never answers is reported as such.
    """
    gateway.redis.hangs = True

    async with asyncio.timeout(5):
        answer = await gateway.http.get("/readyz")

    assert "no answer" in answer.json()["redis"]


async def test_the_model_page_explains_every_number(gateway):
    """
    Version, horizon, ladder, and each feature with unit, range, direction and why.
    """
    page = (await gateway.http.get("/model")).json()

    assert ("linear-1", "a test", 14, 0.5, 9.0) == tuple(
        page[name]
        for name in ("version", "origin", "horizon_days", "class_cutoff", "silence_grid_days")
    )
    assert [feature.name for feature in FEATURES] == [each["name"] for each in page["features"]]
    assert {"name", "unit", "low", "high", "kind", "direction", "definition", "why"} == page[
        "features"
    ][0].keys()
    assert list(TOTALS) == [each["name"] for each in page["predict_inputs"]]
    assert 16 == len(page["levels"])


async def test_errors_of_the_framework_are_problems_too(gateway):
    """
    No such path and not this method answer like everything else.
    """
    missing = await gateway.http.get("/nothing/here")
    wrong = await gateway.http.get("/predict")

    assert [(404, PROBLEM), (405, PROBLEM)] == [
        (answer.status_code, answer.headers["content-type"]) for answer in (missing, wrong)
    ]
    assert "POST" == wrong.headers["allow"]
    assert [404, 405] == [answer.json()["status"] for answer in (missing, wrong)]


async def test_allow_names_every_method_of_a_path(gateway):
    """
    Also where several routes share it; HEAD goes with GET.
    """
    for method, path, allowed in (
        ("OPTIONS", "/users/ada", "DELETE, GET, HEAD"),
        ("PUT", "/events", "POST"),
        ("POST", "/livez", "GET, HEAD"),
        ("HEAD", "/predict", "POST"),
    ):
        answer = await gateway.http.request(method, path)

        assert (405, allowed) == (answer.status_code, answer.headers["allow"])


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/users", "/model", "/docs"])
async def test_head_is_get_without_the_body(gateway, path):
    """
    Same status, same type, nothing behind it.
    """
    asked, told = await gateway.http.head(path), await gateway.http.get(path)

    assert (told.status_code, told.headers["content-type"], b"") == (
        asked.status_code, asked.headers["content-type"], asked.content,
    )  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("user_id", ["a%0Ab", "a%00", "x" * 257])
async def test_a_user_whom_no_event_could_name_is_refused(gateway, method, user_id):
    """
    An erasure of such a user would only end in the dead letters.
    """
    answer = await gateway.http.request(method, f"/users/{user_id}")

    assert (422, "user_id") == (answer.status_code, answer.json()["errors"][0]["field"])
    assert [] == gateway.log.messages


async def test_a_bug_is_a_problem_without_its_details(gateway, monkeypatch):
    """
    What we did not foresee is a 500 problem that tells nothing of the inside.
    """

    def broken() -> int:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(gateway.log, "publish", lambda messages: broken())

    answer = await gateway.http.post("/events", json={"user_id": "ada", "type": "login"})

    assert (500, PROBLEM) == (answer.status_code, answer.headers["content-type"])
    assert "secret" not in answer.text


async def test_a_record_of_a_newer_release_is_a_bug_told_as_one(gateway):
    """
    A stored record this release cannot read is our trouble, not the client's.
    """
    await gateway.redis.set(keys.record("ada"), b"\xff" * 10)

    answer = await gateway.http.get("/users/ada")

    assert (500, PROBLEM) == (answer.status_code, answer.headers["content-type"])


async def test_the_root_leads_to_the_documentation(gateway):
    """
    A browser at / lands on the dashboard.
    """
    answer = await gateway.http.get("/")

    assert (307, "/app/") == (answer.status_code, answer.headers["location"])
    assert 200 == (await gateway.http.get("/docs")).status_code


async def test_requests_are_counted_by_route_and_status(gateway):
    """
    Paths with ids share one label, so that users do not multiply series.
    """
    await gateway.http.get("/users/ada")
    await gateway.http.get("/users/bob")
    await gateway.http.get("/whatever")
    await gateway.http.post("/predict", json=TOTALS)

    lines = (await gateway.http.get("/metrics")).text.splitlines()

    assert f'{Metric.REQUESTS}{{route="/users/{{user_id}}",status="404"}} 2.0' in lines
    assert f'{Metric.REQUESTS}{{route="unmatched",status="404"}} 1.0' in lines
    assert f'{Metric.REQUESTS}{{route="/predict",status="200"}} 1.0' in lines
    assert f'{Metric.REQUEST_SECONDS}_count{{route="/predict"}} 1.0' in lines


async def test_the_gateway_does_not_live_on_half_working():
    """
    When something in the background fails, whoever runs the gateway hears of it.
    """
    failed = asyncio.Event()

    async def breaks() -> None:
        raise ZeroDivisionError

    app = create_app(
        model=a_model(),
        log=MemoryLog(),
        reader=RedisUsers(ServingRedis().client),
        background=[breaks],
        on_failure=failed.set,
    )

    async with app.router.lifespan_context(app):
        await failed.wait()


async def test_every_error_in_the_openapi_document_is_a_problem(gateway):
    """
    The document promises problem details for every 4xx and 5xx, and every reference leads there.
    """
    document = (await gateway.http.get("/openapi.json")).json()

    errors = {
        (path, method, status): list(response["content"])
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        for status, response in operation["responses"].items()
        if status >= "4"
    }
    assert {(PROBLEM,)} == {tuple(kinds) for kinds in errors.values()}
    assert references(document) <= {
        f"#/components/schemas/{name}" for name in document["components"]["schemas"]
    }
    assert {"ActivityEvent", "PredictRequest", "Problem", "UserPage", "ChurnAlert"} <= set(
        document["components"]["schemas"]
    )


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("post", "/predict", TOTALS),
        ("post", "/predict?explain=true", TOTALS),
        ("post", "/predict", {"pages_visited": "x"}),
        ("post", "/predict/batch", {"items": [TOTALS]}),
        ("post", "/events", {"user_id": "ada", "type": "login"}),
        ("post", "/events", [{"user_id": "ada", "type": "login"}, {}]),
        ("post", "/events", [{}]),
        ("delete", "/users/{user_id}", None),
        ("get", "/users/{user_id}", None),
        ("get", "/users", None),
        ("get", "/alerts", None),
        ("get", "/model", None),
        ("get", "/livez", None),
        ("get", "/readyz", None),
    ],
)
async def test_answers_are_what_the_openapi_document_says(gateway, method, path, body):
    """
    Status, media type and body of every route are in the document, and the body fits its schema.
    """
    await gateway.redis.keep("ada", seen(NOON))
    await gateway.redis.zadd("ebb:{00}:rank", {"ada": 0.5})
    document = (await gateway.http.get("/openapi.json")).json()

    url = path.format(user_id="ada")
    answer = await gateway.http.request(method, url, **({"json": body} if body else {}))

    promised = document["paths"][path.partition("?")[0]][method]["responses"]
    content = promised[str(answer.status_code)]["content"][answer.headers["content-type"]]
    schema = {"components": document["components"], **content["schema"]}
    Draft202012Validator(schema).validate(answer.json())


def references(part: object) -> set[str]:
    """Every $ref in a document."""
    if isinstance(part, dict):
        own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
        return own.union(*(references(child) for child in part.values()))
    if isinstance(part, list):
        return set().union(*(references(child) for child in part))
    return set()
