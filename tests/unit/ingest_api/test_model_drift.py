"""`GET /model/quality`, `/model/report` and `/model/drift`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest

from contracts.partition import shard
from contracts.times import DAY_MS
from model.artefact import Beside
from model.drift import counted, spread
from model.features import FEATURES
from model.quality import FeatureEffect, Quality
from runtime import keys
from tests.unit.ingest_api.stand import NOON, Stand, a_model, seen, standing

SILENT = np.linspace(0, 8, 1000)
SPREADS = {"silent_days": spread(SILENT), "sessions": spread(np.full(1000, np.nan))}
QUALITY = Quality(
    reliability={},
    lift=(),
    concepts=(),
    features=tuple(
        FeatureEffect(name, "recency", 0.5, found, (), None) for name, found in SPREADS.items()
    ),
    scores=spread(SILENT / 10),
    moments=1000,
    users=300,
)
PAGE = b"<!doctype html><title>report</title>"


@pytest.fixture
async def told() -> AsyncIterator[Stand]:
    """A gateway with a model that knows what it learned from."""
    async with standing(told=Beside(QUALITY, PAGE)) as stand:
        yield stand


async def people(stand: Stand, *silent_days: float) -> None:
    """Users with a score, silent for so long."""
    for number, days in enumerate(silent_days):
        name = f"user-{number}"
        await stand.redis.keep(name, seen(NOON - round(days * DAY_MS)))
        await stand.redis.zadd(keys.rank(shard(name)), {name: 0.5})


async def test_quality_is_what_lies_beside_the_model(told: Stand, gateway: Stand) -> None:
    """And null for a model without."""
    answer = (await told.http.get("/model/quality")).json()
    assert ("linear-1", 300) == (answer["model_version"], answer["quality"]["users"])
    assert None is (await gateway.http.get("/model/quality")).json()["quality"]


async def test_the_report_may_show_itself_and_do_nothing(told: Stand) -> None:
    """Whoever made the model wrote it."""
    answer = await told.http.get("/model/report")
    assert (PAGE, "text/html; charset=utf-8") == (answer.content, answer.headers["content-type"])
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "sandbox" in policy
    assert "script-src" not in policy
    assert True is (await told.http.get("/model")).json()["has_report"]


async def test_without_a_report_there_is_none(gateway: Stand) -> None:
    """Which the model's page says beforehand."""
    assert 404 == (await gateway.http.get("/model/report")).status_code
    assert False is (await gateway.http.get("/model")).json()["has_report"]


async def test_users_like_those_of_training_are_stable(told: Stand) -> None:
    """As far as chance lets 300 of them be."""
    await people(told, *np.random.default_rng(3).uniform(0, 8, 300))
    answer = (await told.http.get("/model/drift")).json()
    silent = next(row for row in answer["features"] if row["name"] == "silent_days")
    assert (300, 300, 300, True) == tuple(
        answer[name] for name in ("population", "drawn", "compared", "is_enough")
    )
    assert silent["index"] < silent["by_chance"]
    assert "stable" == silent["verdict"]
    assert 300 == sum(silent["live"]["rows"])


async def test_users_who_all_fell_silent_have_shifted(told: Stand) -> None:
    """Their scores, too; what was never known and is known is a shift as well."""
    await people(told, *[8.5] * 250)
    answer = (await told.http.get("/model/drift")).json()
    assert {"shifted"} == {answer["score"]["verdict"], *(f["verdict"] for f in answer["features"])}
    indexes = [row["index"] for row in answer["features"]]
    assert sorted(indexes, reverse=True) == indexes


async def test_only_active_users_are_compared(told: Stand) -> None:
    """The model learned from no others; and few users say little."""
    await people(told, *[1.0] * 20, *[31.0] * 5)
    answer = (await told.http.get("/model/drift")).json()
    assert (25, 20, False) == (answer["drawn"], answer["compared"], answer["is_enough"])


async def test_a_sample_is_kept_for_a_while(told: Stand) -> None:
    """Many open pages cost as much as one."""
    await people(told, 1.0)
    await told.http.get("/model/drift")
    await people(told, 1.0, 2.0)
    assert 1 == (await told.http.get("/model/drift")).json()["drawn"]


async def test_nobody_and_nothing_to_compare_with(told: Stand, gateway: Stand) -> None:
    """Neither is an error."""
    nobody = (await told.http.get("/model/drift")).json()
    assert (0, 0, None, []) == tuple(
        nobody[name] for name in ("population", "compared", "score", "features")
    )
    await people(gateway, 1.0)
    unknown = (await gateway.http.get("/model/drift")).json()
    assert (1, None, []) == tuple(unknown[name] for name in ("compared", "score", "features"))


async def test_without_redis_drift_is_unavailable(told: Stand) -> None:
    """While the rest of the model's page is not."""
    told.redis.away = True
    assert 503 == (await told.http.get("/model/drift")).status_code
    assert 200 == (await told.http.get("/model/quality")).status_code


def test_live_values_are_read_as_the_model_reads_them() -> None:
    """One view for scores and for drift."""
    facts = seen(NOON)["facts"]
    as_of = np.array([NOON + 3 * DAY_MS])
    model = a_model()
    values = model.view(facts, as_of)
    assert model.score(facts, as_of) == model.score_view(values)
    column = [feature.name for feature in FEATURES].index("silent_days")
    assert [1] == [n for n in counted(values[:, column], (2.5, 3.5)).rows if n]
