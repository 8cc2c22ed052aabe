"""`POST /events` of one event past the framework, when there is nothing special about it.

As with `/predict` (`ingest_api/quick.py`), the server asks here once it has read all of a short
request, and whatever is unusual or wrong goes to the routes unchanged. An event is answered when
Kafka has acknowledged it; no task waits for that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from contracts.events import decode
from ingest_api import openapi, problems
from ingest_api.events import EventsAccepted
from ingest_api.guards import guarded
from ingest_api.log import ActivityLog, not_acknowledged
from ingest_api.metrics import GatewayMetrics
from ingest_api.publishing import EventWriter
from ingest_api.quick import is_short_json
from ingest_api.ready import Asking, Headers, Ready

PATH: Final = "/events"


class QuickEvents:
    """Publishes an event that is one, and answers, counts and times it as the route would.

    takes: whether it is taken on; where not, it is told there (`Shedding.takes`).
    may: whether an event with these headers may be taken; who may not is for the routes to tell.
    """

    def __init__(
        self,
        log: ActivityLog,
        writer: EventWriter,
        now: Callable[[], int],
        metrics: GatewayMetrics,
        *,
        takes: Callable[[Asking], bool],
        may: Callable[[Headers], bool],
    ) -> None:
        self._post = log.post
        self._message = writer.message
        self._now = now
        self._takes = takes
        self._may = may
        self._accepted = metrics.events_accepted.inc
        self._answered = metrics.requests.labels(PATH, "202").inc
        self._failed = metrics.requests.labels(PATH, "503").inc
        self._seconds = metrics.request_seconds.labels(PATH).observe
        self._thanks = Ready(guarded(openapi.reply(EventsAccepted(1, ()), 202)))

    def fits(self, headers: Headers) -> bool:
        """Whether a POST to PATH with these headers may be taken here, if its body is an event."""
        return is_short_json(headers) and self._may(headers)

    def take(self, asking: Asking, body: bytes, arrived: float) -> bool:
        """Answer it later, when Kafka has it; False, and nothing is done, if the routes have to.

        A refusal comes before the loop's next round. arrived: by time.perf_counter, when its head
        was there.
        """
        if not self._takes(asking):
            return True
        if body[:1] != b"{":
            return False
        try:
            message = self._message(decode(body), self._now())
        except Exception:  # the routes say what is wrong, also where it is a mistake of ours
            return False

        def told(acknowledged: int, reason: str | None) -> None:
            if acknowledged:
                self._accepted()
                self._answered()
                asking.reply(self._thanks.on_the_wire(asking.default_headers))
            else:
                self._failed()
                asking.reply(_failure(reason).on_the_wire(asking.default_headers))
            self._seconds(time.perf_counter() - arrived)

        return self._post(message, told)


def _failure(reason: str | None) -> Ready:
    """What the route says when Kafka did not acknowledge."""
    error = not_acknowledged(0, 1, reason)
    told = problems.answer(problems.problem_of(error), problems.headers_of(error))
    return Ready(guarded(told))
