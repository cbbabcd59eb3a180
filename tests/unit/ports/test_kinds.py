"""Kinds of records: what identifies one, what refers to one, what lives as long as its nodes."""

from __future__ import annotations

from typing import Any

import pytest

from broker.ports.kinds import KINDS, Kind, added_later, told
from broker.ports.records import (
    BindingRecord,
    Drop,
    ExchangeKey,
    ExchangeRecord,
    Put,
    QueueKey,
    QueueRecord,
    Record,
    SubscriptionKey,
    SubscriptionRecord,
    VirtualHostRecord,
)

QUEUE = QueueRecord("/", "q", 7)
TO_QUEUE = BindingRecord("/", "x", "queue", "q")
TO_EXCHANGE = BindingRecord("/", "x", "exchange", "q")
RECORDS: list[tuple[Record, Record]] = [
    (VirtualHostRecord("/"), VirtualHostRecord("/")),
    (ExchangeRecord("/", "x", "topic"), ExchangeKey("/", "x")),
    (QUEUE, QueueKey("/", "q", 7)),
    (TO_QUEUE, TO_QUEUE),
    (SubscriptionRecord(7, "a", "1", True), SubscriptionKey(7, "a", "1")),
]


def kind_of(record_class: type[Any]) -> Kind:
    return next(kind for kind in KINDS if kind.record is record_class)


@pytest.mark.parametrize(("record", "key"), RECORDS, ids=repr)
def test_a_put_and_a_drop_are_of_the_same_kind(record: Record, key: Record) -> None:
    kind = KINDS.of(Put(record))
    assert KINDS.of(Drop(key)) is kind
    assert kind.key_of(record) == kind.key_of(key) == key
    assert kind.unique_of(record) == kind.unique_of(key)


def test_a_queue_of_the_same_name_is_not_the_same_queue() -> None:
    queues = kind_of(QueueRecord)
    other = QueueRecord("/", "q", 8)
    assert queues.unique_of(QUEUE) == queues.unique_of(other)
    assert queues.key_of(QUEUE) != queues.key_of(other)


def test_no_kind_refers_to_one_that_is_put_later() -> None:
    known: set[type[Any]] = set()
    for kind in KINDS:
        assert {reference.to for reference in kind.references} <= known
        known.add(kind.record)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (VirtualHostRecord("/"), [TO_QUEUE, TO_EXCHANGE]),
        (ExchangeKey("/", "x"), [TO_QUEUE, TO_EXCHANGE]),
        (ExchangeKey("/", "q"), [TO_EXCHANGE]),
        (QueueKey("/", "q", 7), [TO_QUEUE]),
        (ExchangeKey("carbon", "x"), []),
    ],
    ids=repr,
)
def test_a_binding_refers_to_its_ends(key: Record, expected: list[Record]) -> None:
    references = [each for kind, each in KINDS.referring_to(KINDS.of(Drop(key))) if kind.record is BindingRecord]
    bindings = (TO_QUEUE, TO_EXCHANGE)
    assert [record for record in bindings if any(each.is_to(key, record) for each in references)] == expected


@pytest.mark.parametrize(
    ("record", "is_mortal"),
    [
        (VirtualHostRecord("/"), False),
        (QUEUE, False),
        (QueueRecord("/", "q", 7, durable=False), True),
        (QueueRecord("/", "q", 7, exclusive=True), True),
        (ExchangeRecord("/", "x", "topic"), False),
        (ExchangeRecord("/", "x", "topic", durable=False), True),
        (TO_QUEUE, False),
        (SubscriptionRecord(7, "a", "1"), True),
    ],
    ids=repr,
)
def test_some_records_live_no_longer_than_the_nodes_that_know_them(record: Record, is_mortal: bool) -> None:
    assert KINDS.of(Put(record)).is_mortal(record) is is_mortal


def test_nodes_are_told_of_what_was_added_later_only_where_it_says_more() -> None:
    assert told(SubscriptionRecord(7, "a", "1")) == {
        "queue_id": 7,
        "node_id": "a",
        "incarnation": "1",
        "exclusive": False,
    }
    assert told(SubscriptionRecord(7, "a", "1", priority=3))["priority"] == 3
    assert told(SubscriptionKey(7, "a", "1")) == {"queue_id": 7, "node_id": "a", "incarnation": "1"}
    assert added_later(SubscriptionRecord) == {"priority": 0}
    assert added_later(QueueRecord) == {}
