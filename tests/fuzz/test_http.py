"""The gateway against its own OpenAPI document: schemathesis makes up the requests.

Whatever is sent, no 5xx but a documented 503, every status documented, bodies and headers as the
document says, and methods it does not name refused.
"""

from __future__ import annotations

import asyncio
from typing import Any

import schemathesis
from hypothesis import HealthCheck, settings

from contracts.times import DAY_MS
from tests.unit.ingest_api.stand import NOON, Stand, an_additive_model, seen

made_up = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


def stand_with_ada() -> Stand:
    """A gateway that knows a user."""
    stand = Stand(model=an_additive_model())
    asyncio.run(stand.redis.keep("ada", seen(NOON - 3 * DAY_MS)))
    return stand


def document_of(stand: Stand, *expected: str) -> Any:
    """The document of a gateway, which is called in-process, and the statuses that are no fault."""
    checks = {
        # 413 refuses what is too long; 202 a list some of whose events are good.
        "negative_data_rejection": {"expected-statuses": ["4xx", "5xx", "202"]},
        "not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", *expected]},
        # No schema says that ?basis=record asks for a user_id or that a time needs a zone, and to
        # JSON Schema 3.0 is a whole number.
        "positive_data_acceptance": {"expected-statuses": ["2xx", "404", "422", *expected]},
    }
    config = schemathesis.Config.from_dict({"checks": checks})
    return schemathesis.openapi.from_asgi("/openapi.json", stand.app, config=config)


well = document_of(stand_with_ada())
alone_stand = stand_with_ada()
alone_stand.log.away, alone_stand.redis.away = 0, True
alone = document_of(alone_stand, "503")


@well.parametrize()
@made_up
def test_the_gateway_answers_as_documented(case: schemathesis.Case) -> None:
    """
    Whatever the request, its answer is one that the document foretells.
    """
    case.call_and_validate()


@alone.parametrize()
@settings(made_up, max_examples=10)
def test_a_gateway_without_kafka_and_redis_answers_as_documented(case: schemathesis.Case) -> None:
    """
    Nothing else than a documented 503 comes of it.
    """
    case.call_and_validate()
