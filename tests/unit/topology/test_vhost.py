"""Routing, deciding and recording: contract X7, X13, Q6, Q7, Q11. What clients see is in tests/unit/amqp."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from broker.cache_budget import CacheBudget
from broker.codec.field_table import EMPTY_TABLE, FieldTable
from broker.errors import AccessRefused, NotFound, ResourceLocked, StoreUnavailable
from broker.message import Message
from broker.ports.cluster import NoOtherNodes
from broker.ports.records import Drop, ExchangeKey, ExchangeRecord, Put, QueueKey, QueueRecord
from broker.topology.declaration import ExchangeDeclaration, QueueDeclaration
from broker.topology.namespace import PREDECLARED
from broker.topology.vhost import VirtualHost
from broker.turn_budget import TurnBudget
from tests.support.bindings import routed
from tests.support.harness import Harness
from tests.support.stage import drive


class SomeConsumer:
    """A consumer that takes nothing."""

    is_exclusive = False
    is_resting = False
    priority = 0
    unacked = 0

    def __init__(self) -> None:
        self.is_told = False

    def take(self, ready: deque[Message], limit: int) -> int:
        return 0

    def can_take(self) -> bool:
        return False

    def on_queue_deleted(self) -> None:
        self.is_told = True


@pytest.fixture
def harness() -> Harness:
    return Harness()


@pytest.fixture
def vhost(harness: Harness) -> VirtualHost:
    return harness.vhost


def exchange(vhost: VirtualHost, name: str, type: str = "fanout", **arguments: Any) -> None:
    table = FieldTable.of({key.replace("_", "-"): value for key, value in arguments.items()})
    drive(vhost.declare_exchange(ExchangeDeclaration(name, type, True, False, False, table)))


def queue(vhost: VirtualHost, name: str, *, auto_delete: bool = False, owner: object | None = None) -> None:
    drive(vhost.declare_queue(QueueDeclaration(name, True, auto_delete, EMPTY_TABLE, owner)))


def bind(vhost: VirtualHost, source: str, kind: Any, name: str, key: str = "", **arguments: Any) -> None:
    drive(vhost.bind(source, (kind, name), key, FieldTable.of(arguments)))


def test_every_virtual_host_has_the_predeclared_exchanges(vhost: VirtualHost) -> None:
    assert [(each.name, each.type, each.internal) for each in vhost.exchanges.values()] == list(PREDECLARED)
    assert all(each.durable for each in vhost.exchanges.values())


def test_the_default_exchange_routes_by_the_name_of_the_queue(vhost: VirtualHost) -> None:
    queue(vhost, "q")
    assert routed(vhost, "", "q") == ["q"]
    assert routed(vhost, "", "p") == []


def test_an_unknown_exchange_cannot_route(vhost: VirtualHost) -> None:
    with pytest.raises(NotFound, match="no exchange 'x' in vhost '/'"):
        routed(vhost, "x", "")


def test_a_chain_of_exchanges_leads_to_each_queue_once(vhost: VirtualHost) -> None:
    for name in ("a", "b", "c"):
        exchange(vhost, name)
    for name in ("p", "q"):
        queue(vhost, name)
    bind(vhost, "a", "exchange", "b")
    bind(vhost, "b", "exchange", "c")
    bind(vhost, "c", "exchange", "a")
    bind(vhost, "a", "queue", "q")
    bind(vhost, "c", "queue", "q")
    bind(vhost, "c", "queue", "p")
    assert routed(vhost, "a", "") == ["p", "q"]


def test_each_exchange_of_a_chain_has_its_own_alternate(vhost: VirtualHost) -> None:
    exchange(vhost, "rest")
    exchange(vhost, "inner", "direct", alternate_exchange="rest")
    exchange(vhost, "outer", alternate_exchange="missing")
    queue(vhost, "q")
    queue(vhost, "lost")
    bind(vhost, "rest", "queue", "lost")
    bind(vhost, "inner", "queue", "q", "k")
    bind(vhost, "outer", "exchange", "inner")
    assert routed(vhost, "outer", "k") == ["q"]
    assert routed(vhost, "outer", "other") == ["lost"]


def test_alternates_in_a_row_are_followed_to_the_end(vhost: VirtualHost) -> None:
    exchange(vhost, "c")
    exchange(vhost, "b", "direct", alternate_exchange="c")
    exchange(vhost, "a", "direct", alternate_exchange="b")
    queue(vhost, "q")
    assert routed(vhost, "a", "k") == []
    bind(vhost, "c", "queue", "q")
    assert routed(vhost, "a", "k") == ["q"]


def needs_headers(vhost: VirtualHost, name: str) -> bool:
    search = vhost.routing.search(vhost.exchange(name), ("",), None, TurnBudget())
    with pytest.raises(StopIteration) as ended:
        next(search)
    return ended.value.value is None


@pytest.mark.parametrize("way", ["direct", "bound", "alternate"])
def test_headers_matter_wherever_they_are_looked_at(vhost: VirtualHost, way: str) -> None:
    queue(vhost, "q")
    bind(vhost, "amq.headers", "queue", "q", color="red")
    exchange(vhost, "x", **({"alternate_exchange": "amq.headers"} if way == "alternate" else {}))
    if way == "bound":
        bind(vhost, "x", "exchange", "amq.headers")
    name = "amq.headers" if way == "direct" else "x"
    assert needs_headers(vhost, name)
    assert routed(vhost, name, "", headers={"color": "red"}) == ["q"]
    assert routed(vhost, name, "", headers={"color": "blue"}) == []


def test_headers_do_not_matter_in_a_cycle_without_them(vhost: VirtualHost) -> None:
    exchange(vhost, "a", alternate_exchange="b")
    exchange(vhost, "b", alternate_exchange="missing")
    bind(vhost, "b", "exchange", "a")
    assert not needs_headers(vhost, "a")


@pytest.mark.parametrize("change", ["exchange", "queue", "bind", "unbind", "delete queue", "delete exchange"])
def test_every_change_makes_routes_be_found_anew(vhost: VirtualHost, change: str) -> None:
    exchange(vhost, "x")
    queue(vhost, "q")
    bind(vhost, "x", "queue", "q")
    routes = vhost.routing.routes_for("all", CacheBudget())
    routes[b"cached"] = None  # type: ignore[assignment]
    if change == "exchange":
        exchange(vhost, "y")
    elif change == "queue":
        queue(vhost, "p")
    elif change == "bind":
        bind(vhost, "x", "queue", "q", "k")
    elif change == "unbind":
        drive(vhost.unbind("x", ("queue", "q"), "", FieldTable.of({})))
    elif change == "delete queue":
        drive(vhost.delete_queue("q"))
    else:
        drive(vhost.delete_exchange("x", if_unused=False))
    assert routes == {}


def test_an_exclusive_queue_is_its_owners(vhost: VirtualHost) -> None:
    owner = object()
    queue(vhost, "q", owner=owner)
    assert vhost.queue("q", owner).name == "q"
    with pytest.raises(ResourceLocked, match="cannot obtain exclusive access to locked queue 'q' in vhost '/'"):
        vhost.queue("q", object())


def test_deleting_a_queue_tells_its_consumers(vhost: VirtualHost) -> None:
    queue(vhost, "q")
    consumer = SomeConsumer()
    vhost.consumers.add(vhost.queues["q"], consumer)
    drive(vhost.delete_queue("q"))
    assert consumer.is_told


def test_a_queue_that_is_consumed_again_is_not_deleted(vhost: VirtualHost) -> None:
    queue(vhost, "q", auto_delete=True)
    first, second = SomeConsumer(), SomeConsumer()
    vhost.consumers.add(vhost.queues["q"], first)
    assert vhost.consumers.remove(vhost.queues["q"], first)
    vhost.consumers.add(vhost.queues["q"], second)
    drive(vhost.consumers.unsubscribe(vhost.queues["q"]))
    assert "q" in vhost.queues


def test_a_consumer_leaves_once(vhost: VirtualHost) -> None:
    queue(vhost, "q")
    assert not vhost.consumers.remove(vhost.queues["q"], SomeConsumer())


def test_only_exclusive_queues_that_are_still_there_are_deleted(vhost: VirtualHost) -> None:
    owner = object()
    queue(vhost, "q", owner=owner)
    old = vhost.queues["q"]
    drive(vhost.delete_queue("q", owner))
    queue(vhost, "q")
    drive(vhost.delete_exclusive([old]))
    assert "q" in vhost.queues


def test_nothing_changes_when_a_deletion_cannot_be_recorded(harness: Harness, vhost: VirtualHost) -> None:
    exchange(vhost, "x")
    queue(vhost, "q")
    bind(vhost, "x", "queue", "q")
    for change in (
        vhost.delete_queue("q"),
        vhost.delete_exchange("x", if_unused=False),
        vhost.unbind("x", ("queue", "q"), "", FieldTable.of({})),
    ):
        harness.topology.failure = StoreUnavailable("away")
        with pytest.raises(StoreUnavailable):
            drive(change)  # type: ignore[arg-type]
    assert routed(vhost, "x", "") == ["q"]
    assert vhost.queue("q").name == "q"


def test_one_deletion_is_recorded_as_one_change(harness: Harness) -> None:
    recorded: list[Any] = []

    async def listening(changes: Any) -> None:
        recorded.append(list(changes))

    vhost = harness.parts.add_vhost("/", cluster=NoOtherNodes(listening, harness.journal.forget))
    drive(vhost.declare_exchange(ExchangeDeclaration("x", "fanout", True, True, False, EMPTY_TABLE)))
    queue(vhost, "q")
    bind(vhost, "x", "queue", "q")
    drive(vhost.delete_queue("q"))
    assert recorded[0] == [Put(ExchangeRecord("/", "x", "fanout", auto_delete=True))]
    assert recorded[1] == [Put(QueueRecord("/", "q", 1))]
    assert recorded[3] == [Drop(ExchangeKey("/", "x")), Drop(QueueKey("/", "q", 1))]


def test_an_exclusive_consumer_stays_alone(vhost: VirtualHost) -> None:
    queue(vhost, "q")
    vhost.consumers.add(vhost.queues["q"], SomeConsumer())
    alone = SomeConsumer()
    alone.is_exclusive = True
    with pytest.raises(AccessRefused, match="queue 'q' in vhost '/' in exclusive use"):
        vhost.consumers.add(vhost.queues["q"], alone)
