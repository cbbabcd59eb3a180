"""Topologies as records: the hash, and the way from one to another."""

from __future__ import annotations

from dataclasses import replace

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
    Topology,
    VirtualHostRecord,
)
from broker.topology.diff import changes_between, changes_to, hashing, topology_hash

EXCHANGES = (ExchangeRecord("/", "x", "fanout"), ExchangeRecord("/", "y", "topic", arguments=b"\x01"))
QUEUES = (QueueRecord("/", "p", 1), QueueRecord("/", "q", 2, True, node_id="a", incarnation="1"))
BINDINGS = (BindingRecord("/", "x", "queue", "p"), BindingRecord("/", "x", "exchange", "y", "k"))
SUBSCRIPTIONS = (SubscriptionRecord(1, "a", "1"), SubscriptionRecord(1, "b", "1"))
VHOSTS = (VirtualHostRecord("/"),)
TOPOLOGY = Topology([*VHOSTS, *EXCHANGES, *QUEUES, *BINDINGS, *SUBSCRIPTIONS])


def but(*records: Record) -> Topology:
    """Return `TOPOLOGY` with these records in place of those of the same kinds."""
    kinds = set(map(type, records))
    return Topology([*(record for record in TOPOLOGY if type(record) not in kinds), *records])


def test_the_order_of_records_does_not_change_the_hash() -> None:
    other = Topology([VirtualHostRecord("/"), *EXCHANGES[::-1], *QUEUES[::-1], *BINDINGS[::-1], *SUBSCRIPTIONS[::-1]])
    assert topology_hash(other) == topology_hash(TOPOLOGY)
    assert len(topology_hash(TOPOLOGY)) == 32


def test_the_hash_is_the_one_that_earlier_versions_of_the_broker_have() -> None:
    assert topology_hash(TOPOLOGY) == "7aac4f0f8732e5fc58af0034af6d792a"
    assert topology_hash(Topology()) == "0" * 32


def test_what_was_added_later_changes_the_hash_where_it_says_more() -> None:
    subscriptions = [SubscriptionRecord(1, "a", "1", priority=priority) for priority in (0, 1, 2)]
    assert len({topology_hash(Topology([record])) for record in subscriptions}) == 3


def test_every_difference_changes_the_hash() -> None:
    others = [
        Topology(record for record in TOPOLOGY if record not in VHOSTS),
        but(*EXCHANGES[:1]),
        but(EXCHANGES[0], replace(EXCHANGES[1], arguments=b"\x02")),
        but(EXCHANGES[0], replace(EXCHANGES[1], durable=False)),
        but(QUEUES[0], replace(QUEUES[1], queue_id=3)),
        but(QUEUES[0], replace(QUEUES[1], incarnation="2")),
        but(BINDINGS[0], replace(BINDINGS[1], routing_key="")),
        but(SUBSCRIPTIONS[0], replace(SUBSCRIPTIONS[1], exclusive=True)),
    ]
    assert len({topology_hash(other) for other in [TOPOLOGY, *others]}) == 9


def test_nothing_leads_from_a_topology_to_itself() -> None:
    assert list(changes_between(TOPOLOGY, TOPOLOGY)) == []


def test_everything_leads_from_nothing_to_a_topology() -> None:
    assert list(changes_between(Topology(), TOPOLOGY)) == list(changes_to(TOPOLOGY))
    assert list(changes_to(TOPOLOGY)) == [
        Put(each) for each in (*VHOSTS, *EXCHANGES, *QUEUES, *BINDINGS, *SUBSCRIPTIONS)
    ]


def test_what_is_surplus_goes_before_what_is_missing_comes() -> None:
    changes = list(changes_between(TOPOLOGY, Topology([VirtualHostRecord("new")])))
    assert changes == [
        Drop(SubscriptionKey(1, "a", "1")),
        Drop(SubscriptionKey(1, "b", "1")),
        Drop(BINDINGS[0]),
        Drop(BINDINGS[1]),
        Drop(QueueKey("/", "p", 1)),
        Drop(QueueKey("/", "q", 2)),
        Drop(ExchangeKey("/", "x")),
        Drop(ExchangeKey("/", "y")),
        Drop(VirtualHostRecord("/")),
        Put(VirtualHostRecord("new")),
    ]


def test_a_queue_that_was_made_anew_takes_bindings_and_subscriptions_with_it() -> None:
    again = QueueRecord("/", "p", 3)
    subscription = SubscriptionRecord(3, "b", "1")
    wanted = but(again, QUEUES[1], subscription)
    assert list(changes_between(TOPOLOGY, wanted)) == [
        Drop(SubscriptionKey(1, "a", "1")),
        Drop(SubscriptionKey(1, "b", "1")),
        Drop(BINDINGS[0]),
        Drop(QueueKey("/", "p", 1)),
        Put(again),
        Put(BINDINGS[0]),
        Put(subscription),
    ]


def test_an_exchange_that_was_made_anew_loses_the_bindings_it_had() -> None:
    again = replace(EXCHANGES[1], type="direct")
    wanted = but(EXCHANGES[0], again)
    assert list(changes_between(TOPOLOGY, wanted)) == [
        Drop(BINDINGS[1]),
        Drop(ExchangeKey("/", "y")),
        Put(again),
        Put(BINDINGS[1]),
    ]


def test_subscriptions_keep_the_order_in_which_they_came() -> None:
    wanted = but(*SUBSCRIPTIONS[::-1])
    assert list(changes_between(TOPOLOGY, wanted)) == [
        Drop(SubscriptionKey(1, "a", "1")),
        Drop(SubscriptionKey(1, "b", "1")),
        Put(SUBSCRIPTIONS[1]),
        Put(SUBSCRIPTIONS[0]),
    ]


def test_a_binding_may_go_alone() -> None:
    wanted = but(*BINDINGS[:1])
    assert list(changes_between(TOPOLOGY, wanted)) == [Drop(BINDINGS[1])]


def test_hashing_in_steps_gives_the_same_hash_and_lets_others_run_after_each_five_hundred_records() -> None:
    queues = [QueueRecord("/", f"q{number}", number) for number in range(1, 1252)]
    topology = Topology([VirtualHostRecord("/"), *queues])
    *steps, found = hashing(lambda kind: topology.of(kind.record))
    assert steps == [""] * 2
    assert found == topology_hash(topology)
