"""Topologies as records: the hash, and the way from one to another."""

from __future__ import annotations

from dataclasses import replace

from broker.ports.records import (
    BindingAdded,
    BindingRecord,
    BindingRemoved,
    ExchangeDeclared,
    ExchangeDeleted,
    ExchangeRecord,
    QueueDeclared,
    QueueDeleted,
    QueueRecord,
    SubscriptionAdded,
    SubscriptionRecord,
    SubscriptionRemoved,
    Topology,
    VirtualHostCreated,
    VirtualHostDeleted,
)
from broker.topology.diff import changes_between, changes_to, topology_hash, vhost_of

EXCHANGES = (ExchangeRecord("/", "x", "fanout"), ExchangeRecord("/", "y", "topic", arguments=b"\x01"))
QUEUES = (QueueRecord("/", "p", 1), QueueRecord("/", "q", 2, True, node_id="a", incarnation="1"))
BINDINGS = (BindingRecord("/", "x", "queue", "p"), BindingRecord("/", "x", "exchange", "y", "k"))
SUBSCRIPTIONS = (SubscriptionRecord(1, "a", "1"), SubscriptionRecord(1, "b", "1"))
TOPOLOGY = Topology(("/",), EXCHANGES, QUEUES, BINDINGS, SUBSCRIPTIONS)


def test_the_order_of_records_does_not_change_the_hash() -> None:
    other = Topology(("/",), EXCHANGES[::-1], QUEUES[::-1], BINDINGS[::-1], SUBSCRIPTIONS[::-1])
    assert topology_hash(other) == topology_hash(TOPOLOGY)
    assert len(topology_hash(TOPOLOGY)) == 32


def test_every_difference_changes_the_hash() -> None:
    others = [
        replace(TOPOLOGY, vhosts=()),
        replace(TOPOLOGY, exchanges=EXCHANGES[:1]),
        replace(TOPOLOGY, exchanges=(EXCHANGES[0], replace(EXCHANGES[1], arguments=b"\x02"))),
        replace(TOPOLOGY, exchanges=(EXCHANGES[0], replace(EXCHANGES[1], durable=False))),
        replace(TOPOLOGY, queues=(QUEUES[0], replace(QUEUES[1], queue_id=3))),
        replace(TOPOLOGY, queues=(QUEUES[0], replace(QUEUES[1], incarnation="2"))),
        replace(TOPOLOGY, bindings=(BINDINGS[0], replace(BINDINGS[1], routing_key=""))),
        replace(TOPOLOGY, subscriptions=(SUBSCRIPTIONS[0], replace(SUBSCRIPTIONS[1], exclusive=True))),
    ]
    assert len({topology_hash(other) for other in [TOPOLOGY, *others]}) == 9


def test_nothing_leads_from_a_topology_to_itself() -> None:
    assert list(changes_between(TOPOLOGY, TOPOLOGY)) == []


def test_everything_leads_from_nothing_to_a_topology() -> None:
    assert list(changes_between(Topology(), TOPOLOGY)) == list(changes_to(TOPOLOGY))
    assert [type(change) for change in changes_to(TOPOLOGY)] == [
        VirtualHostCreated,
        ExchangeDeclared,
        ExchangeDeclared,
        QueueDeclared,
        QueueDeclared,
        BindingAdded,
        BindingAdded,
        SubscriptionAdded,
        SubscriptionAdded,
    ]


def test_what_is_surplus_goes_before_what_is_missing_comes() -> None:
    changes = list(changes_between(TOPOLOGY, Topology(("new",))))
    assert changes == [
        SubscriptionRemoved(1, "a", "1"),
        SubscriptionRemoved(1, "b", "1"),
        QueueDeleted("/", "p", 1),
        QueueDeleted("/", "q", 2),
        ExchangeDeleted("/", "x"),
        ExchangeDeleted("/", "y"),
        VirtualHostDeleted("/"),
        VirtualHostCreated("new"),
    ]


def test_a_queue_that_was_made_anew_takes_bindings_and_subscriptions_with_it() -> None:
    again = QueueRecord("/", "p", 3)
    subscription = SubscriptionRecord(3, "b", "1")
    wanted = replace(TOPOLOGY, queues=(again, QUEUES[1]), subscriptions=(subscription,))
    assert list(changes_between(TOPOLOGY, wanted)) == [
        SubscriptionRemoved(1, "a", "1"),
        SubscriptionRemoved(1, "b", "1"),
        QueueDeleted("/", "p", 1),
        QueueDeclared(again),
        BindingAdded(BINDINGS[0]),
        SubscriptionAdded(subscription),
    ]


def test_an_exchange_that_was_made_anew_loses_the_bindings_it_had() -> None:
    again = replace(EXCHANGES[1], type="direct")
    wanted = replace(TOPOLOGY, exchanges=(EXCHANGES[0], again))
    assert list(changes_between(TOPOLOGY, wanted)) == [
        ExchangeDeleted("/", "y"),
        ExchangeDeclared(again),
        BindingAdded(BINDINGS[1]),
    ]


def test_subscriptions_keep_the_order_in_which_they_came() -> None:
    wanted = replace(TOPOLOGY, subscriptions=SUBSCRIPTIONS[::-1])
    assert list(changes_between(TOPOLOGY, wanted)) == [
        SubscriptionRemoved(1, "a", "1"),
        SubscriptionRemoved(1, "b", "1"),
        SubscriptionAdded(SUBSCRIPTIONS[1]),
        SubscriptionAdded(SUBSCRIPTIONS[0]),
    ]


def test_a_binding_may_go_alone() -> None:
    wanted = replace(TOPOLOGY, bindings=BINDINGS[:1])
    assert list(changes_between(TOPOLOGY, wanted)) == [BindingRemoved(BINDINGS[1])]


def test_every_change_but_that_of_a_subscription_names_its_virtual_host() -> None:
    surplus, missing = changes_between(TOPOLOGY, Topology()), changes_to(TOPOLOGY)
    changes = [*surplus, *missing, BindingRemoved(BINDINGS[0])]
    assert {vhost_of(change) for change in changes if "Subscription" not in type(change).__name__} == {"/"}
    assert {vhost_of(change) for change in changes if "Subscription" in type(change).__name__} == {None}
