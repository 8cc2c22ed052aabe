"""What the door lets in: laws of the policy, without a server or a clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ingest_api.admission import Admission, Limits, Moment, Queue, Reason

POLL = 1e-5
LIMITS = Limits(in_flight=3, body_bytes=100, connections=5, standing_wait=0.05, burst_wait=0.5)


def at(seconds: float) -> Moment:
    """A moment of a thread that is never held up."""
    return Moment(seconds, seconds)


def asked(admission: Admission, *, predict: bool = True, size: int = 1, connections: int = 1):
    """The answer to a request that came this moment."""
    return admission.refused(
        is_predict=predict, arrived=at(0), now=at(0), body_bytes=size, connections=connections
    )


def served(service: float, arrivals: list[float]) -> list[tuple[float, bool]]:
    """Wait and verdict of each request at a server that begins one after the other.

    It reads what has come in turns, as an event loop does, and refusing takes no time.
    """
    queue, now, told = Queue(LIMITS), 0.0, []
    pending = sorted(arrivals)
    while pending:
        now = max(now, pending[0])
        turn = [each for each in pending if each <= now]
        pending = pending[len(turn) :]
        read_at = now
        now += POLL
        for _ in turn:
            wait = now - read_at
            is_in_time = queue.is_in_time(at(read_at), at(now))
            told.append((wait, is_in_time))
            now += service if is_in_time else 0.0
    return told


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60), st.booleans())))
def test_what_is_under_way_never_exceeds_a_limit(steps):
    """
    Neither pool holds more requests, nor both together more bytes, than stated, whatever comes.
    """
    admission, held = Admission(LIMITS), []
    for is_predict, size, leaves in steps:
        if leaves and held:
            was_predict, was_size = held.pop(0)
            admission.left(is_predict=was_predict, body_bytes=was_size)
        elif asked(admission, predict=is_predict, size=size) is None:
            held.append((is_predict, size))
        for pool in (True, False):
            assert sum(predict is pool for predict, _ in held) <= LIMITS.in_flight
        assert sum(size for _, size in held) <= LIMITS.body_bytes


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=30))
def test_all_room_is_there_again_when_all_have_left(requests):
    """
    Nothing leaks: not from refused requests either.
    """
    admission = Admission(LIMITS)
    held = [one for one in requests if asked(admission, predict=one[0], size=one[1]) is None]
    for is_predict, size in held:
        admission.left(is_predict=is_predict, body_bytes=size)

    assert asked(admission, size=LIMITS.body_bytes) is None


def test_requests_that_wait_for_kafka_keep_no_prediction_out():
    """
    Each pool has its own room.
    """
    admission = Admission(LIMITS)
    others = [asked(admission, predict=False) for _ in range(4)]

    assert [None, None, None, Reason.IN_FLIGHT] == others
    assert asked(admission, predict=True) is None


def test_bytes_are_refused_where_requests_would_still_fit():
    """
    A few large bodies are as much as many small ones; a request without a body gets in.
    """
    admission = Admission(LIMITS)

    assert asked(admission, size=90) is None
    assert Reason.BODY_BYTES == asked(admission, size=20)
    assert asked(admission, size=0) is None


def test_connections_beyond_the_limit_are_refused():
    """
    The limit itself is allowed.
    """
    admission = Admission(LIMITS)

    assert asked(admission, connections=5) is None
    assert Reason.CONNECTIONS == asked(admission, connections=6)


def test_what_waited_long_is_refused_with_the_reason():
    """
    It would be answered late, and so would everything behind it.
    """
    answer = Admission(LIMITS).refused(
        is_predict=True, arrived=at(0), now=at(0.6), body_bytes=0, connections=1
    )

    assert Reason.WAITED == answer


def test_a_burst_is_waited_out():
    """
    Forty requests of 10 ms at once are all answered after an idle time.
    """
    told = served(0.01, [0.0, *(1.0 + n * 1e-6 for n in range(40))])

    assert all(is_in_time for _, is_in_time in told)


@given(factor=st.sampled_from([1.5, 2, 4, 8]), service=st.sampled_from([0.001, 0.005, 0.02]))
def test_under_lasting_overload_whoever_is_let_in_waits_no_longer_than_a_burst_may(factor, service):
    """
    After the first second no wait of an accepted request exceeds the standing bound.
    """
    gap = service / factor
    told = served(service, [n * gap for n in range(int(4 / gap))])
    late = told[len(told) // 2 :]

    assert max(wait for wait, is_in_time in late if is_in_time) <= LIMITS.standing_wait
    assert any(not is_in_time for _, is_in_time in late)


@given(load=st.sampled_from([0.2, 0.5, 0.9]), service=st.sampled_from([0.0001, 0.005, 0.03]))
def test_nothing_is_shed_below_capacity(load, service):
    """
    Steady arrivals that the server keeps up with are all answered.
    """
    gap = service / load
    told = served(service, [n * gap for n in range(int(min(2 / gap, 5_000)))])

    assert all(is_in_time for _, is_in_time in told)


def test_a_queue_is_forgiven_once_it_has_ended():
    """
    A request that waits for nobody, and lets nobody wait, ends the strict time.
    """
    overload = [n * 0.0025 for n in range(800)]
    calm = [3.0, 3.1]
    burst = [3.2 + n * 1e-6 for n in range(20)]
    told = served(0.01, [*overload, *calm, *burst])

    assert not all(is_in_time for _, is_in_time in told[:800])
    assert all(is_in_time for _, is_in_time in told[800:])


def test_a_machine_that_stood_still_sheds_nobody():
    """
    A wait in which the event loop did nothing is no queue, however long, even after a standing one.
    """
    queue = Queue(LIMITS)
    for n in range(600):
        queue.is_in_time(Moment(0.0, n * 0.001), Moment(1.0, n * 0.001))

    assert queue.is_in_time(Moment(1.0, 0.6), Moment(10.0, 0.601))
