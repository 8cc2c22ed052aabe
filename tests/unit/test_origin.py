"""What a model learned from travels with everything it says."""

from __future__ import annotations

from urllib.parse import unquote

import msgspec
import pytest

from alerts.policy import judge
from alerts.rules import DEFAULT
from contracts.alerts import AlertKind
from contracts.times import DAY_MS
from ingest_api.predictions import ORIGIN_HEADER
from model.artefact import Model
from tests.churn_scores import churn_score
from tests.unit.ingest_api.stand import NOON, TOTALS, a_model, seen, standing
from tests.unit.scorer.stand import Stand, settle

ORIGIN = "visits.parquet 2025-01-01 to 2025-06-30"


def a_model_of_a_log() -> Model:
    model = a_model()
    manifest = msgspec.structs.replace(model.manifest, origin=ORIGIN)
    return Model(manifest, model.full, model.inputs)


async def test_every_answer_of_the_gateway_says_where_its_model_comes_from() -> None:
    """
    A prediction's header, its explanation, a user's page, the ranked list and the model's page.
    """
    async with standing(model=a_model_of_a_log()) as gateway:
        await gateway.redis.keep("ada", seen(NOON - DAY_MS))
        prediction = await gateway.http.post("/predict", json=TOTALS)
        explained = await gateway.http.post("/predict?explain=true", json=TOTALS)
        page = await gateway.http.get("/users/ada")
        ranked = await gateway.http.get("/users")
        model = await gateway.http.get("/model")

    assert {ORIGIN} == {
        unquote(prediction.headers[ORIGIN_HEADER]),
        explained.json()["origin"],
        page.json()["score"]["origin"],
        ranked.json()["origin"],
        model.json()["origin"],
    }


async def test_every_score_says_where_its_model_comes_from() -> None:
    """
    While a user is here and when they have gone.
    """
    scorer = Stand()
    worker = await scorer.opened()
    await worker.handle([scorer.event(NOON)])
    await settle(worker, NOON + 9 * DAY_MS)

    scores = scorer.scores()

    assert {"activity", "silence"} == {score.trigger for score in scores}
    assert {scorer.model.origin} == {score.origin for score in scores}


@pytest.mark.parametrize("kind", ["opened", "escalated", "resolved", "churned"])
def test_every_alert_says_where_its_model_comes_from(kind: AlertKind) -> None:
    """
    The origin of the score that caused it, whatever the kind.
    """
    history = {
        "opened": churn_score(0.75),
        "escalated": churn_score(0.95, 2.0),
        "resolved": churn_score(0.1, 3.0, trigger="activity", last_seen_day=3.0),
        "churned": churn_score(0.95, 3.0, cancelled=True),
    }
    episode, told = None, []
    for name in dict.fromkeys(["opened", kind]):
        score = msgspec.structs.replace(history[name], origin=f"{ORIGIN}, {name}")
        episode, alerts = judge(episode, score, DEFAULT)
        told += [(alert.kind, alert.origin) for alert in alerts]

    assert (kind, f"{ORIGIN}, {kind}") == told[-1]
