"""Write the gateway's OpenAPI document to src/api/openapi.json, or with --check compare it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from contracts.activity import FoldRules
from ingest_api.access_gate import Access
from ingest_api.app import create_app
from ingest_api.audit import RedisAudit
from ingest_api.records import RedisUsers
from ingest_api.system import Machine
from tests.unit.ingest_api.stand import (
    MemoryBox,
    MemoryEnds,
    MemoryLetters,
    MemoryLog,
    ServingRedis,
    a_model,
)

COMMITTED = Path(__file__).parents[1] / "src" / "api" / "openapi.json"


def document() -> str:
    """The document as JSON text, two spaces deep."""
    log, redis = MemoryLog(), ServingRedis()
    app = create_app(
        model=a_model(),
        log=log,
        reader=RedisUsers(redis),
        rules=FoldRules(),
        access=Access(audit=RedisAudit(redis.client)),
        machine=Machine(redis, MemoryEnds(log), MemoryLetters(), lambda _: MemoryBox(log, [])),
    )
    return json.dumps(app.openapi(), indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Exits with 1 and the remedy when --check finds another document."""
    made = document()
    if "--check" not in sys.argv:
        COMMITTED.write_text(made)
    elif COMMITTED.read_text() != made:
        sys.exit(
            f"{COMMITTED} is not the gateway's document: in dashboard/, run "
            "`npm run api:document && npm run api && npm run build`"
        )


if __name__ == "__main__":
    main()
