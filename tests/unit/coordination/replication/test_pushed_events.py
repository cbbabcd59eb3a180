"""The events that a node keeps to push them."""

from __future__ import annotations

from broker.coordination.replication.pushed_events import MOST_EVENTS, MOST_OCTETS, PushedEvents
from broker.ports.cluster_rows import EventRow, Incarnation

AUTHOR = Incarnation("a", "a-1")


def test_the_newest_events_are_kept_in_their_order() -> None:
    events = PushedEvents()
    for number in range(1, MOST_EVENTS + 11):
        events.add(EventRow(number, AUTHOR, b"x"))
    assert [event.event_id for event in events.after(0)] == list(range(11, MOST_EVENTS + 11))
    assert [event.event_id for event in events.after(MOST_EVENTS + 8)] == [MOST_EVENTS + 9, MOST_EVENTS + 10]


def test_large_events_push_others_out_and_one_too_large_is_not_kept() -> None:
    events = PushedEvents()
    for number in range(1, 4):
        events.add(EventRow(number, AUTHOR, b"x" * (MOST_OCTETS // 2)))
    assert [event.event_id for event in events.after(0)] == [2, 3]
    events.add(EventRow(4, AUTHOR, b"x" * (MOST_OCTETS + 1)))
    assert events.after(0) == []
    events.add(EventRow(5, AUTHOR, b"x"))
    assert [event.event_id for event in events.after(0)] == [5]
