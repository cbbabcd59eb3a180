"""What the end of a node's incarnation means in the history of its clients."""

from __future__ import annotations

from tests.support.cluster_load import Disturbance, disturbed
from tests.support.events import Event, FaultKind, Op, Outcome
from tests.support.history import check

A, B = 0, 1
NODES = {"publisher/1": B, "first/1": A, "second/1": B, "drain/1": B}
KEY = ("publisher.1", 1)


def event(at: float, op: Op, channel: str = "", **fields: object) -> Event:
    process = channel.partition("/")[0]
    return Event(t_inv=at, t_ret=at, process=process, op=op, channel=channel, **fields)  # type: ignore[arg-type]


def taken(at: float, channel: str, *, op: Op = Op.DELIVER, redelivered: bool = False) -> Event:
    return event(at, op, channel, queue="q", key=KEY, tag=1, redelivered=redelivered)


STORY = [
    event(1.0, Op.OPEN, "publisher/1"),
    event(1.0, Op.OPEN, "first/1"),
    event(1.0, Op.OPEN, "second/1"),
    event(2.0, Op.PUBLISH, "publisher/1", key=KEY, tag=1, queues=("q",)),
    event(2.1, Op.CONFIRM, "publisher/1", key=KEY, tag=1),
    taken(3.0, "first/1"),
    taken(6.0, "second/1", redelivered=True),
    taken(6.1, "second/1", op=Op.ACK),
    event(9.0, Op.CLOSE, "first/1", type=Outcome.INFO),
    event(9.0, Op.CLOSE, "publisher/1"),
    event(9.0, Op.CLOSE, "second/1"),
]


def kinds(events: list[Event], *disturbances: Disturbance) -> list[FaultKind]:
    return [fault.kind for fault in check(disturbed(events, list(disturbances), NODES))]


def test_a_message_held_by_an_undisturbed_session_may_not_come_again() -> None:
    assert kinds(STORY) == [FaultKind.UNPROVOKED]
    assert kinds(STORY, Disturbance(B, 4.0, 5.0)) == [FaultKind.UNPROVOKED]


def test_a_message_held_on_a_node_whose_incarnation_ended_may_come_again_elsewhere() -> None:
    assert kinds(STORY, Disturbance(A, 4.0, 5.0)) == []


def test_an_acknowledgement_to_a_node_whose_incarnation_ended_may_be_lost() -> None:
    acked = [*STORY, taken(4.5, "first/1", op=Op.ACK)]
    assert FaultKind.RESURRECTED in kinds(acked)
    assert kinds(acked, Disturbance(A, 4.0, 5.0)) == []


def test_what_a_frozen_node_had_sent_is_read_later_and_was_first() -> None:
    late = [taken(7.0, "first/1") if each.t_inv == 3.0 else each for each in STORY]
    assert kinds(late, Disturbance(A, 4.0, 7.0)) == [FaultKind.RESURRECTED]
    assert kinds(late, Disturbance(A, 4.0, 7.0, ((4.0, 7.0),))) == []


def test_what_is_read_late_and_acknowledged_at_once_was_not_held_together() -> None:
    key = ("publisher.1", 2)
    before = [
        event(1.1, Op.CONSUME, "first/1", queue="q", prefetch=1),
        event(2.0, Op.PUBLISH, "publisher/1", key=key, tag=2, queues=("q",)),
        event(2.1, Op.CONFIRM, "publisher/1", key=key, tag=2),
    ]
    first = [taken(5.0, "first/1"), taken(5.0, "first/1", op=Op.ACK)]
    second = [event(at, op, "first/1", queue="q", key=key, tag=2) for at, op in ((5.1, Op.DELIVER), (5.2, Op.ACK))]
    story = [each for each in STORY if each.op is not Op.DELIVER and each.op is not Op.ACK]
    assert kinds([*story, *before, *first, *second], Disturbance(A, 4.0, 6.0, ((4.0, 6.0),))) == []


def test_a_session_begun_after_the_trouble_is_not_touched_by_it() -> None:
    assert kinds(STORY, Disturbance(A, 0.1, 0.5)) == [FaultKind.UNPROVOKED]


def test_what_was_given_back_is_drained_in_no_order() -> None:
    keys = [("publisher.1", number) for number in (1, 2)]
    published = [event(2.0, Op.PUBLISH, "publisher/1", key=key, tag=key[1], queues=("q",)) for key in keys]
    confirmed = [event(2.1, Op.CONFIRM, "publisher/1", key=key, tag=key[1]) for key in keys]

    def drained(*, redelivered: bool) -> list[Event]:
        taken = [event(8.0, Op.DRAIN, "drain/1", queue="q", key=key, redelivered=redelivered) for key in reversed(keys)]
        before = [event(3.0, Op.DELIVER, "first/1", queue="q", key=key, tag=key[1]) for key in keys]
        given_back = [event(4.0, Op.CLOSE, "first/1", type=Outcome.INFO)]
        return [*published, *confirmed, *(before + given_back if redelivered else ()), *taken]

    assert kinds(drained(redelivered=True)) == []
    assert kinds(drained(redelivered=False)) == [FaultKind.REORDERED]


def test_what_a_node_sends_between_its_first_fault_and_its_stop_is_sent_then() -> None:
    stopped_later = Disturbance(A, 2.5, 7.0, ((4.0, 7.0),))
    sent = [each for each in disturbed(STORY, [stopped_later], NODES) if each.op is Op.DELIVER]
    assert [(each.t_inv, each.t_ret) for each in sent] == [(3.0, 3.0), (6.0, 6.0)]
    late = [taken(7.0, "first/1") if each.t_inv == 3.0 else each for each in STORY]
    sent = [each for each in disturbed(late, [stopped_later], NODES) if each.op is Op.DELIVER]
    assert [(each.t_inv, each.t_ret) for each in sent] == [(7.0, 4.0), (6.0, 6.0)]
