"""Which requests are taken on, and which are told at once to come again: values in, words out.

Four things can run out. Requests under way and the bytes of their bodies cost memory; connections
cost memory and file descriptors; and time: what waits long before anybody looks at it is answered
late, and so is everything behind it. The first three are counted. Time needs two bounds: a burst
may queue for a while, for it passes; a queue that stands does not pass, and everything taken on
waits as long as it is (Nichols and Jacobson, "Controlling Queue Delay", 2012; for servers Maurer,
"Fail at Scale", 2015). So a queue is given the longer bound until it has stood for some time.

`/predict` and the rest are counted apart: what waits for Kafka must not keep predictions out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, NamedTuple

MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What a gateway takes on; the defaults are explained in docs/decisions/0015-pressure.md."""

    in_flight: int = 512
    """Requests begun and not yet answered, of `/predict`, and once more of everything else."""
    body_bytes: int = 64 * MIB
    """Of the bodies of these, in both together."""
    connections: int = 4_096
    standing_wait: float = 0.02
    """Seconds of work that may lie before a request while others have been waiting all the time."""
    burst_wait: float = 0.1
    """Seconds that may otherwise; also how long a queue has to last to be a standing one."""


class Reason(StrEnum):
    """Why a request is not taken on: label of the metric."""

    IN_FLIGHT = "in_flight"
    BODY_BYTES = "body_bytes"
    CONNECTIONS = "connections"
    WAITED = "waited"


class Moment(NamedTuple):
    """A moment of a thread's life, in seconds since some moment of no meaning."""

    at: float
    work: float
    """How much the thread has done until then: its processor time."""


BEFORE_ALL: Final = Moment(float("-inf"), float("-inf"))


class Queue:
    """Judges how long requests wait for their turn, by the work that lies before them.

    When the machine is slow or stands still for a while, that is no queue which refusing would
    shorten. Requests are begun in turn; one that waited for nobody, and nobody for it, ends a
    queue.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._begun = self._alone = BEFORE_ALL
        self._was_free = False

    def is_in_time(self, arrived: Moment, now: Moment) -> bool:
        """Whether a request that arrived then may be begun now."""
        is_free = arrived.at > self._begun.at
        if is_free and self._was_free:
            self._alone = self._begun
        self._begun, self._was_free = now, is_free
        is_standing = now.work - self._alone.work > self._limits.burst_wait
        most = self._limits.standing_wait if is_standing else self._limits.burst_wait
        return now.work - arrived.work <= most


class Admission:
    """Takes requests on while there is room, in two pools."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._queue = Queue(limits)
        # Whoever came when the last turn had just read waits for that turn and for this one.
        self._reading = Queue(
            replace(
                limits,
                standing_wait=limits.standing_wait / 2,
                burst_wait=limits.burst_wait / 2,
            )
        )
        self._in_flight = {True: 0, False: 0}
        self._bytes = 0

    def refused(
        self, *, is_predict: bool, arrived: Moment, now: Moment, body_bytes: int, connections: int
    ) -> Reason | None:
        """None once the request is taken on, which `left` ends; else why it is not.

        body_bytes: what its body may come to. connections: open ones, its own among them.
        """
        in_time = self._queue.is_in_time(arrived, now)
        limits = self._limits
        reason = None
        if connections > limits.connections:
            reason = Reason.CONNECTIONS
        elif self._in_flight[is_predict] >= limits.in_flight:
            reason = Reason.IN_FLIGHT
        elif body_bytes and self._bytes + body_bytes > limits.body_bytes:
            reason = Reason.BODY_BYTES
        elif not in_time:
            reason = Reason.WAITED
        else:
            self._in_flight[is_predict] += 1
            self._bytes += body_bytes
        return reason

    def is_read_in_time(self, turn: Moment, now: Moment) -> bool:
        """Whether what is read now, in a turn of the loop that began then, may be taken on."""
        return self._reading.is_in_time(turn, now)

    def left(self, *, is_predict: bool, body_bytes: int) -> None:
        """Give back what an answered request held."""
        self._in_flight[is_predict] -= 1
        self._bytes -= body_bytes
