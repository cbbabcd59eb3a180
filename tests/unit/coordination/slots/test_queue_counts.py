"""The sums of what nodes say of their queues."""

from __future__ import annotations

from broker.coordination.slots.queue_counts import QueueCounts
from broker.ports.cluster_rows import Incarnation
from broker.ports.peer_calls import QueueCount

ALICE = Incarnation("alice", "a")
BOB = Incarnation("bob", "b")


def test_a_node_is_told_what_lies_on_the_others_and_in_free_slots() -> None:
    counts = QueueCounts()
    counts.note(ALICE, [QueueCount(1, 10, 1)])
    counts.note(BOB, [QueueCount(1, 5, 2), QueueCount(2, 0, 1)])

    assert counts.elsewhere(ALICE, [(1, 100), (3, 7)]) == [
        QueueCount(1, 105, 2),
        QueueCount(2, 0, 1),
        QueueCount(3, 7, 0),
    ]


def test_counts_are_replaced_as_a_whole_and_go_with_their_node() -> None:
    counts = QueueCounts()
    counts.note(BOB, [QueueCount(1, 5, 2), QueueCount(2, 3, 0)])
    counts.note(BOB, [QueueCount(2, 4, 0)])

    assert counts.elsewhere(ALICE, []) == [QueueCount(2, 4, 0)]
    counts.drop(BOB)
    assert counts.elsewhere(ALICE, []) == []


def test_an_answer_has_at_most_ten_thousand_queues_those_with_the_most_messages() -> None:
    counts = QueueCounts()
    counts.note(BOB, [QueueCount(each, each, 0) for each in range(1, 10_003)])

    counts = counts.elsewhere(ALICE, [])
    assert len(counts) == 10_000
    assert min(count.ready for count in counts) == 3


def test_a_node_is_told_when_clients_of_others_used_a_queue_last() -> None:
    counts, carol = QueueCounts(), Incarnation("carol", "c")
    counts.note(ALICE, [QueueCount(1, 0, 0, used_at=900)])
    counts.note(BOB, [QueueCount(1, 0, 0, used_at=500), QueueCount(2, 1, 0)])
    counts.note(carol, [QueueCount(1, 0, 0, used_at=700)])

    assert counts.elsewhere(ALICE, []) == [QueueCount(1, 0, 0, 700), QueueCount(2, 1, 0)]
    assert counts.elsewhere(BOB, []) == [QueueCount(1, 0, 0, 900)]
    counts.note(carol, [])
    assert counts.elsewhere(ALICE, [])[0] == QueueCount(1, 0, 0, 500)
    counts.drop(BOB)
    assert counts.elsewhere(ALICE, []) == []


def test_octets_are_summed_too() -> None:
    counts = QueueCounts()
    counts.note(ALICE, [QueueCount(1, 2, 0, octets=20)])
    counts.note(BOB, [QueueCount(1, 3, 0, octets=30), QueueCount(1, 1, 0, octets=5)])
    assert counts.elsewhere(ALICE, [(1, 4)]) == [QueueCount(1, 8, 0, octets=35)]
    counts.drop(BOB)
    assert counts.elsewhere(ALICE, []) == []


def test_what_a_node_was_granted_counts_there_until_it_reports() -> None:
    counts = QueueCounts()
    counts.note(BOB, [QueueCount(1, 3, 0)])
    counts.grant(BOB, 1, 4)
    counts.grant(ALICE, 1, 9)
    assert counts.elsewhere(ALICE, []) == [QueueCount(1, 7, 0)]
    counts.note(BOB, [QueueCount(1, 5, 0)])
    assert counts.elsewhere(ALICE, []) == [QueueCount(1, 5, 0)]
    counts.drop(BOB)
    assert counts.elsewhere(ALICE, []) == []
