"""Quix Streams: an event at a time, the user's state in its RocksDB store.

`python quix_app.py BOOTSTRAP INPUT OUTPUT GROUP FOLDER IDEMPOTENT`
https://quix.io/docs/quix-streams/advanced/stateful-processing.html
"""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any

from classifier import Classifier
from features import BLANK, rows, updated
from quixstreams import Application, State


def main() -> None:
    bootstrap, source, target, group, folder, idempotent = sys.argv[1:]
    classifier = Classifier()

    def scored(event: dict[str, Any], state: State) -> dict[str, Any]:
        at = datetime.fromisoformat(event["occurred_at"]).timestamp()
        new = updated(state.get("user") or BLANK, event, at)
        state.set("user", new)
        churn = float(classifier.churn(rows([new], classifier.columns))[0])
        return {"user_id": event["user_id"], "churn_probability": round(churn, 6)}

    app = Application(
        broker_address=bootstrap,
        consumer_group=group,
        auto_offset_reset="earliest",
        state_dir=folder,
        producer_extra_config={"enable.idempotence": idempotent == "true"},
        loglevel="WARNING",
    )
    stream = app.dataframe(app.topic(source, value_deserializer="json"))
    stream.apply(scored, stateful=True).to_topic(app.topic(target, value_serializer="json"))
    app.run()


if __name__ == "__main__":
    main()
