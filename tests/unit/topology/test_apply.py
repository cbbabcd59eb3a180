"""From changes to memory: every change goes one way, whoever decided it, and may be applied again."""

from __future__ import annotations

import pytest

from broker.codec.field_table import EMPTY_TABLE, FieldTable
from broker.errors import PreconditionFailed, StoreError
from broker.ports.cluster_rows import Incarnation
from broker.ports.records import (
    BindingRecord,
    Change,
    Drop,
    ExchangeKey,
    ExchangeRecord,
    Put,
    QueueKey,
    QueueRecord,
    Record,
    SubscriptionKey,
    SubscriptionRecord,
    Topology,
    VirtualHostRecord,
)
from broker.queue.settings import QueueSettings
from broker.topology.binding import Binding
from broker.topology.declaration import ExchangeDeclaration, QueueDeclaration, RemoteOwner
from broker.topology.vhost import VirtualHost
from tests.support.bindings import routed
from tests.support.harness import Harness
from tests.support.stage import drive
from tests.support.topology_node import Company, OneConsumer, TopologyNode

X = ExchangeRecord("/", "x", "headers", True, True, FieldTable.of({"alternate-exchange": "spare"}).raw, False)
Q = QueueRecord("/", "q", 7, False, True, FieldTable.of({"x-single-active-consumer": True}).raw, False)
MINE = QueueRecord("/", "mine", 8, True, node_id="a", incarnation="1")
BOUND = BindingRecord("/", "x", "queue", "q", "k", FieldTable.of({"a": 1}).raw)
CHAINED = BindingRecord("/", "amq.fanout", "exchange", "x")
CONSUMED = SubscriptionRecord(7, "b", "1")
ALL = (X, Q, MINE, BOUND, CHAINED, CONSUMED)


@pytest.fixture
def harness() -> Harness:
    return Harness()


@pytest.fixture
def vhost(harness: Harness) -> VirtualHost:
    return harness.vhost


def test_what_was_applied_is_what_memory_says_it_has(harness: Harness) -> None:
    for record in ALL:
        harness.live.apply(Put(record))
    there = harness.live.snapshot()
    assert set(there) == {VirtualHostRecord("/"), VirtualHostRecord("carbon"), *ALL}


@pytest.mark.parametrize(
    "change",
    [
        *map(Put, ALL),
        *map(Drop, (ExchangeKey("/", "x"), QueueKey("/", "q", 7), BOUND, SubscriptionKey(7, "b", "1"))),
        Put(VirtualHostRecord("new")),
        Drop(VirtualHostRecord("carbon")),
    ],
    ids=repr,
)
def test_a_change_that_is_applied_again_does_nothing(harness: Harness, change: Change) -> None:
    for record in ALL:
        harness.live.apply(Put(record))
    harness.live.apply(change)
    once = harness.live.snapshot()
    assert list(harness.live.apply(change)) == []
    assert harness.live.snapshot() == once


@pytest.mark.parametrize(
    "change",
    [*map(Put, ALL[:-1]), Put(CONSUMED), *map(Drop, (ExchangeKey("/", "x"), QueueKey("/", "q", 7), BOUND))],
    ids=repr,
)
def test_what_is_in_a_virtual_host_that_is_not_there_is_left_out(harness: Harness, change: Change) -> None:
    harness.live.apply(Drop(VirtualHostRecord("/")))
    assert list(harness.live.apply(change)) == []
    assert list(harness.live.snapshot()) == [VirtualHostRecord("carbon")]


def test_a_virtual_host_that_goes_takes_its_queues_messages_and_consumers_with_it(harness: Harness) -> None:
    harness.live.apply(Put(Q))
    queue, consumer = harness.vhost.queues["q"], OneConsumer()
    harness.vhost.consumers.add(queue, consumer)
    harness.live.apply(Drop(VirtualHostRecord("/")))
    assert consumer.is_cancelled
    assert queue.is_closing
    assert list(harness.broker.vhosts) == ["carbon"]


def test_a_queue_is_deleted_by_its_id(harness: Harness, vhost: VirtualHost) -> None:
    harness.live.apply(Put(Q))
    harness.live.apply(Drop(QueueKey("/", "q", 99)))
    assert vhost.queues["q"].queue_id == 7


def test_a_queue_that_is_there_with_another_id_does_not_fit(harness: Harness) -> None:
    harness.live.apply(Put(Q))
    with pytest.raises(StoreError, match="queue 'q' in vhost '/' is there already with another id"):
        harness.live.apply(Put(QueueRecord("/", "q", 99)))


def test_an_exclusive_queue_of_the_store_belongs_to_a_connection_elsewhere(harness: Harness) -> None:
    harness.live.apply(Put(MINE))
    assert harness.vhost.queues["mine"].owner == RemoteOwner(Incarnation("a", "1"))


def test_what_is_not_recorded_is_applied_like_everything_else(harness: Harness, vhost: VirtualHost) -> None:
    applied: list[Change] = []

    def apply(change: Change) -> object:
        applied.append(change)
        return harness.live.apply(change)

    vhost.recorder._apply = apply  # type: ignore[assignment]
    owner = object()
    drive(vhost.declare_exchange(ExchangeDeclaration("x", "fanout", False, False, False, EMPTY_TABLE)))
    drive(vhost.declare_queue(QueueDeclaration("q", True, False, EMPTY_TABLE, owner)))
    drive(vhost.bind("x", ("queue", "q"), "", EMPTY_TABLE))
    drive(vhost.delete_exchange("x", if_unused=False))
    drive(vhost.delete_queue("q", owner))
    assert applied == [
        Put(ExchangeRecord("/", "x", "fanout", durable=False)),
        Put(QueueRecord("/", "q", 1, exclusive=True)),
        Put(BindingRecord("/", "x", "queue", "q")),
        Drop(ExchangeKey("/", "x")),
        Drop(QueueKey("/", "q", 1)),
    ]
    assert drive(harness.store.load()) == Topology()


async def test_memory_is_the_same_on_the_node_that_decided_and_on_those_that_were_told() -> None:
    company = Company()
    a: TopologyNode = await company.node("a")
    b = await company.node("b")
    await a.exchange("x", auto_delete=True)
    await a.declare("mine", owner=object())
    await a.declare("q", x_single_active_consumer=True)
    await a.bind("x", "q")
    await a.consume("q")
    assert a.topology.snapshot() == b.topology.snapshot()
    assert len(list(a.topology.snapshot())) == 6


# What the store has kept


def test_what_was_recorded_can_be_restored(harness: Harness, vhost: VirtualHost) -> None:
    alternate = FieldTable.of({"alternate-exchange": "amq.fanout"})
    drive(vhost.declare_exchange(ExchangeDeclaration("x", "fanout", True, False, False, alternate)))
    drive(vhost.declare_queue(QueueDeclaration("q", True, True, EMPTY_TABLE)))
    drive(vhost.bind("x", ("queue", "q"), "k", FieldTable.of({"a": 1})))
    drive(vhost.bind("amq.topic", ("exchange", "x"), "#", EMPTY_TABLE))
    another = Harness()
    assert another.live.restore(drive(harness.store.load())) == []
    restored = another.vhost
    assert routed(restored, "amq.topic", "k") == ["q"]
    assert restored.exchanges["x"].alternate == "amq.fanout"
    kept = restored.queues["q"]
    assert (kept.durable, kept.auto_delete, kept.queue_id, kept.owner) == (True, True, 1, None)
    assert next(iter(restored.exchanges["x"].bindings)).arguments == FieldTable.of({"a": 1})


def test_what_belongs_to_another_virtual_host_is_left_to_it(harness: Harness, vhost: VirtualHost) -> None:
    exchange, queue = ExchangeRecord("carbon", "x", "direct"), QueueRecord("carbon", "q", 1)
    assert harness.live.restore(Topology([exchange, queue, BindingRecord("carbon", "x", "queue", "q")])) == []
    assert "x" not in vhost.exchanges
    assert "q" not in vhost.queues
    assert "q" in harness.broker.vhosts["carbon"].queues


@pytest.mark.parametrize(
    "binding", [BindingRecord("/", "nowhere", "queue", "q"), BindingRecord("/", "amq.direct", "queue", "nothing")]
)
def test_a_binding_without_an_end_is_told_and_left_out(harness: Harness, binding: BindingRecord) -> None:
    assert harness.live.restore(Topology([QueueRecord("/", "q", 1), binding])) == [
        f"binding from '{binding.source}' to '{binding.destination}' in vhost '/' has lost an end"
    ]
    assert "q" in harness.vhost.queues


GARBAGE = b"\xff\x00garbage"


def restored(harness: Harness, *records: Record) -> list[str]:
    return harness.live.restore(Topology([VirtualHostRecord("/"), *records]))


def test_a_queue_whose_arguments_cannot_be_read_is_there_without_them(harness: Harness, vhost: VirtualHost) -> None:
    record = QueueRecord("/", "q", 7, False, False, GARBAGE)

    complaints = restored(harness, record, QueueRecord("/", "p", 8, False, False))

    assert [line.partition(":")[0] for line in complaints] == [
        "the arguments of queue 'q' in vhost '/' cannot be read and have no effect"
    ]
    assert sorted(vhost.queues) == ["p", "q"]
    assert vhost.queues["q"].arguments.values == {}
    QueueDeclaration("q", durable=True, auto_delete=False, arguments=EMPTY_TABLE).require_same("", vhost.queues["q"])
    assert record in set(harness.live.snapshot())


def test_arguments_that_are_refused_today_are_there_without_effect(harness: Harness, vhost: VirtualHost) -> None:
    table = FieldTable.of({"x-message-ttl": -1, "x-max-length": 5, "x-queue-type": "mirrored"})
    record = QueueRecord("/", "q", 7, False, False, table.raw)

    assert restored(harness, record) == [
        "an argument of queue 'q' in vhost '/' has no effect: 'x-queue-type': \"unsupported queue type 'mirrored'\"",
        "an argument of queue 'q' in vhost '/' has no effect: 'x-message-ttl': {value_negative,-1}",
    ]
    assert vhost.queues["q"].settings == QueueSettings(max_length=5)
    assert record in set(harness.live.snapshot())


def test_an_exchange_of_an_unknown_type_is_there_routes_nothing_and_can_be_deleted(
    harness: Harness, vhost: VirtualHost
) -> None:
    record = ExchangeRecord("/", "x", "x-future", False, False, b"", True)
    bound = BindingRecord("/", "x", "queue", "q", "k")

    complaints = restored(harness, QueueRecord("/", "q", 7, False, False), record, bound)

    assert complaints == ["exchange 'x' in vhost '/' routes nothing: its type 'x-future' is unknown"]
    assert {record, bound} <= set(harness.live.snapshot())
    with pytest.raises(PreconditionFailed, match="cannot route through exchange 'x': its type 'x-future' is unknown"):
        vhost.exchanges["x"].check(Binding("x", ("queue", "q"), "", EMPTY_TABLE))
    harness.live.apply(Drop(ExchangeKey("/", "x")))
    assert "x" not in vhost.exchanges


@pytest.mark.parametrize(
    "arguments", [GARBAGE, FieldTable.of({"alternate-exchange": 7}).raw], ids=["garbage", "alternate that is no name"]
)
def test_an_exchange_whose_arguments_make_no_sense_is_there_without_them(
    harness: Harness, vhost: VirtualHost, arguments: bytes
) -> None:
    record = ExchangeRecord("/", "x", "direct", False, False, arguments, True)

    [complaint] = restored(harness, record)

    assert "exchange 'x' in vhost '/'" in complaint
    assert vhost.exchanges["x"].alternate is None
    assert record in set(harness.live.snapshot())


def test_a_binding_that_makes_no_sense_costs_no_other(harness: Harness, vhost: VirtualHost) -> None:
    good = BindingRecord("/", "amq.headers", "queue", "q", "", FieldTable.of({"a": 1}).raw)
    bad = [
        BindingRecord("/", "amq.headers", "queue", "q", "", GARBAGE),
        BindingRecord("/", "amq.headers", "queue", "q", "", FieldTable.of({"x-match": "some"}).raw),
    ]

    complaints = restored(harness, QueueRecord("/", "q", 7, False, False), *bad, good)

    assert [line.startswith("BindingRecord(vhost='/', source='amq.") for line in complaints] == [True, True]
    assert [each for each in harness.live.snapshot() if isinstance(each, BindingRecord)] == [good]


def test_a_large_topology_is_restored_in_steps_of_five_hundred_changes(harness: Harness) -> None:
    queues = [QueueRecord("/", f"q{number}", number) for number in range(1, 1251)]
    restoring = harness.live.restoring(Topology([*queues, QueueRecord("/", "q1", 9999)]))
    assert next(restoring) == []
    assert len(harness.live.vhosts["/"].queues) == 500
    [_, complaints] = restoring
    assert len(complaints) == 1
    assert len(harness.live.vhosts["/"].queues) == 1250
