"""Consumers on several nodes: exclusive use, auto-delete, if-unused, single active consumer (contract B16, Q7, F11)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from broker.coordination.replication.orphans import remove_orphans, remove_own_orphans
from broker.errors import AccessRefused, NotFound, PreconditionFailed
from broker.ports.cluster_rows import Incarnation
from broker.ports.records import SubscriptionRecord
from broker.queue.queue import Queue
from tests.support.topology_node import Company, OneConsumer, TopologyNode


def is_active(queue: Queue) -> bool:
    """Is the single active consumer of `queue` to be one of its node?"""
    return queue.turns.dispatcher.is_active


@pytest.fixture
async def company() -> Company:
    return Company()


@pytest.fixture
async def a(company: Company) -> TopologyNode:
    return await company.node("a")


@pytest.fixture
async def b(company: Company) -> TopologyNode:
    return await company.node("b")


def subscribers(node: TopologyNode, name: str) -> list[str]:
    subscriptions = node.vhost.consumers.subscriptions
    return [incarnation.node_id for incarnation in subscriptions.of(node.vhost.queues[name].queue_id)]


async def test_the_first_consumer_of_a_node_is_told_and_the_last_one(a: TopologyNode, b: TopologyNode) -> None:
    queue = await a.declare("q")
    first, second = await a.consume("q"), await a.consume("q")
    assert len(a.company.events.log) == 2
    assert subscribers(b, "q") == ["a"]
    await a.cancel(queue, first)
    assert subscribers(b, "q") == ["a"]
    await a.cancel(queue, second)
    assert subscribers(a, "q") == subscribers(b, "q") == []
    assert a.hash == b.hash


async def test_consumers_of_an_exclusive_queue_are_nobodys_business(a: TopologyNode, b: TopologyNode) -> None:
    queue = await a.declare("q", owner=object())
    assert not a.vhost.consumers.needs_subscription(queue, OneConsumer())


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True), (True, True)])
async def test_exclusive_use_reaches_across_nodes(a: TopologyNode, b: TopologyNode, first: bool, second: bool) -> None:
    queue = await a.declare("q")
    consumer = await a.consume("q", is_exclusive=first)
    with pytest.raises(AccessRefused, match="queue 'q' in vhost '/' in exclusive use"):
        await b.consume("q", is_exclusive=second)
    await a.cancel(queue, consumer)
    await b.consume("q", is_exclusive=second)


async def test_of_two_exclusive_consumers_at_once_one_is_refused(a: TopologyNode, b: TopologyNode) -> None:
    await a.declare("q")
    results = await asyncio.gather(
        a.consume("q", is_exclusive=True), b.consume("q", is_exclusive=True), return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in results) == ["AccessRefused", "OneConsumer"]
    assert len(subscribers(a, "q")) == 1


async def test_of_two_consumers_of_one_node_at_once_an_exclusive_one_is_alone_or_refused(a: TopologyNode) -> None:
    queue = await a.declare("q")
    results = await asyncio.gather(a.consume("q"), a.consume("q", is_exclusive=True), return_exceptions=True)
    assert [type(result) for result in results] == [OneConsumer, AccessRefused]
    assert len(queue.consumers) == 1


async def test_an_exclusive_consumer_follows_shared_ones_of_its_node_that_have_just_left(
    a: TopologyNode, b: TopologyNode
) -> None:
    queue = await a.declare("q")
    shared = await a.consume("q")
    assert a.vhost.consumers.remove(queue, shared)
    await a.consume("q", is_exclusive=True)
    await a.vhost.consumers.unsubscribe(queue)
    with pytest.raises(AccessRefused):
        await b.consume("q")


async def test_a_consumer_that_is_back_before_the_end_was_recorded_stays(a: TopologyNode, b: TopologyNode) -> None:
    queue = await a.declare("q", auto_delete=True)
    first = await a.consume("q")
    assert a.vhost.consumers.remove(queue, first)
    await a.consume("q")
    await a.vhost.consumers.unsubscribe(queue)
    assert subscribers(b, "q") == ["a"]


async def test_a_consumer_that_starts_while_the_last_one_leaves_subscribes_again(
    a: TopologyNode, b: TopologyNode
) -> None:
    queue = await a.declare("q")
    consumer = await a.consume("q")
    await asyncio.gather(a.cancel(queue, consumer), a.consume("q"))
    assert subscribers(a, "q") == subscribers(b, "q") == ["a"]
    assert len(queue.consumers) == 1


async def test_an_auto_delete_queue_lives_as_long_as_any_node_consumes(a: TopologyNode, b: TopologyNode) -> None:
    queue = await a.declare("q", auto_delete=True)
    here, there = await a.consume("q"), await b.consume("q")
    await a.cancel(queue, here)
    assert "q" in a.vhost.queues
    await b.cancel(b.vhost.queues["q"], there)
    assert a.vhost.queues == b.vhost.queues == {}
    assert len(a.company.events.changes[-1]) == 2


async def test_the_last_consumers_of_an_auto_delete_queue_may_leave_at_once(a: TopologyNode, b: TopologyNode) -> None:
    queue = await a.declare("q", auto_delete=True)
    here, there = await a.consume("q"), await b.consume("q")
    await asyncio.gather(a.cancel(queue, here), b.cancel(b.vhost.queues["q"], there))
    assert a.vhost.queues == b.vhost.queues == {}


async def test_a_consumer_that_comes_as_an_auto_delete_queue_goes_has_it_or_does_not_find_it(
    a: TopologyNode, b: TopologyNode
) -> None:
    queue = await a.declare("q", auto_delete=True)
    consumer = await a.consume("q")
    _, other = await asyncio.gather(a.cancel(queue, consumer), b.consume("q"), return_exceptions=True)
    assert isinstance(other, OneConsumer) == ("q" in a.vhost.queues)
    assert isinstance(other, NotFound) == ("q" not in b.vhost.queues)
    assert a.hash == b.hash


async def test_a_queue_that_another_node_consumes_is_in_use(a: TopologyNode, b: TopologyNode) -> None:
    await a.declare("q")
    consumer = await b.consume("q")
    with pytest.raises(PreconditionFailed, match="queue 'q' in vhost '/' in use"):
        await a.vhost.delete_queue("q", if_unused=True)
    await b.cancel(b.vhost.queues["q"], consumer)
    await a.vhost.delete_queue("q", if_unused=True)
    assert b.vhost.queues == {}


# Single active consumer


async def test_the_node_that_subscribed_first_has_the_active_consumer(a: TopologyNode, b: TopologyNode) -> None:
    queue = await a.declare("q", x_single_active_consumer=True)
    there = b.vhost.queues["q"]
    assert queue.settings.single_active_consumer
    assert there.settings.single_active_consumer
    first = await b.consume("q")
    await a.consume("q")
    assert (is_active(queue), is_active(there)) == (False, True)
    await b.cancel(there, first)
    assert (is_active(queue), is_active(there)) == (True, False)
    assert a.active == ["q"]


async def test_a_node_that_starts_later_knows_who_is_active(company: Company, a: TopologyNode) -> None:
    await a.declare("q", x_single_active_consumer=True)
    await a.consume("q")
    late = await company.node("late")
    assert not is_active(late.vhost.queues["q"])
    assert is_active(a.vhost.queues["q"])


def who_is_active(company: Company, name: str = "q") -> list[str]:
    """Return the nodes on which the single active consumer may be."""
    nodes = company.nodes.items()
    return [each for each, node in nodes if is_active(node.vhost.queues[name])]


def priorities(node: TopologyNode, name: str = "q") -> dict[str, int]:
    """Return what `node` knows of the priorities of nodes, in the order of their subscriptions."""
    subscriptions = node.vhost.consumers.subscriptions.of(node.vhost.queues[name].queue_id)
    return {incarnation.node_id: record.priority for incarnation, record in subscriptions.items()}


async def test_the_highest_priority_of_all_nodes_follows_the_active_consumer(
    company: Company, a: TopologyNode, b: TopologyNode
) -> None:
    c = await company.node("c")
    queue = await a.declare("q", x_single_active_consumer=True)
    first, low = await a.consume("q"), await a.consume("q", priority=1)
    await b.consume("q", priority=2)
    highest = await c.consume("q", priority=3)
    assert who_is_active(company) == ["a"]
    assert priorities(b) == {"a": 1, "b": 2, "c": 3}
    await a.cancel(queue, first)
    assert who_is_active(company) == ["c"]
    assert priorities(b) == {"c": 3, "a": 1, "b": 2}
    await c.cancel(c.vhost.queues["q"], highest)
    assert who_is_active(company) == ["b"]
    await a.cancel(queue, low)
    assert who_is_active(company) == ["b"]
    assert a.hash == b.hash == c.hash


async def test_a_consumer_that_waits_changes_nothing_when_it_goes(
    company: Company, a: TopologyNode, b: TopologyNode
) -> None:
    queue = await a.declare("q", x_single_active_consumer=True)
    await a.consume("q")
    waiting = await a.consume("q", priority=5)
    await b.consume("q", priority=3)
    assert priorities(b) == {"a": 5, "b": 3}
    await a.cancel(queue, waiting)
    assert priorities(b) == {"a": 0, "b": 3}
    assert who_is_active(company) == ["a"]


async def test_the_next_consumer_of_the_same_node_follows_when_no_other_node_has_a_higher_priority(
    company: Company, a: TopologyNode, b: TopologyNode
) -> None:
    queue = await a.declare("q", x_single_active_consumer=True)
    first = await a.consume("q")
    await a.consume("q")
    await b.consume("q")
    events = len(company.events.log)
    await a.cancel(queue, first)
    assert who_is_active(company) == ["a"]
    assert len(company.events.log) == events


async def test_nobody_gets_anything_while_it_is_being_recorded_who_is_next(a: TopologyNode, b: TopologyNode) -> None:
    queue = await a.declare("q", x_single_active_consumer=True)
    first = await a.consume("q")
    await a.consume("q")
    higher = await b.consume("q", priority=1)
    assert a.vhost.consumers.remove(queue, first)
    assert not is_active(queue)
    await b.cancel(b.vhost.queues["q"], higher)
    assert not is_active(queue)
    await a.vhost.consumers.unsubscribe(queue)
    assert is_active(queue)
    assert a.active[-1] == "q"


async def test_in_a_quorum_queue_a_higher_priority_on_another_node_takes_over_at_once(
    company: Company, a: TopologyNode, b: TopologyNode
) -> None:
    queue = await a.declare("q", durable=True, x_single_active_consumer=True, x_queue_type="quorum")
    await a.consume("q", priority=1)
    await b.consume("q", priority=1)
    assert who_is_active(company) == ["a"]
    higher = await b.consume("q", priority=2)
    assert who_is_active(company) == ["b"]
    highest = await a.consume("q", priority=3)
    assert who_is_active(company) == ["a"]
    await a.cancel(queue, highest)
    assert who_is_active(company) == ["b"]
    await b.cancel(b.vhost.queues["q"], higher)
    assert who_is_active(company) == ["b"]
    assert a.hash == b.hash


async def test_the_highest_priority_follows_a_node_that_dies(company: Company, a: TopologyNode) -> None:
    dead = await company.node("dead")
    await dead.declare("q", x_single_active_consumer=True)
    for node, priority in ((dead, 0), (a, 0), (await company.node("b"), 7)):
        await node.consume("q", priority=priority)
    del company.nodes["dead"]
    await a.vhost.consumers.remove_orphans({dead.incarnation})
    assert priorities(a) == {"b": 7, "a": 0}
    assert who_is_active(company) == ["b"]


async def test_consumers_of_different_priorities_that_start_at_once_are_all_counted(
    company: Company, a: TopologyNode, b: TopologyNode
) -> None:
    await a.declare("q", x_single_active_consumer=True)
    await asyncio.gather(*(a.consume("q", priority=priority) for priority in (1, 5, 3)))
    assert priorities(b) == {"a": 5}


async def test_a_priority_that_leaves_while_an_equal_one_comes_stays(a: TopologyNode, b: TopologyNode) -> None:
    queue = await a.declare("q", x_single_active_consumer=True)
    await a.consume("q")
    leaving = await a.consume("q", priority=5)
    await asyncio.gather(a.cancel(queue, leaving), a.consume("q", priority=5))
    assert priorities(b) == {"a": 5}


@pytest.mark.parametrize("options", [{}, {"durable": True, "x_queue_type": "quorum"}])
async def test_all_nodes_know_when_consumers_of_a_queue_have_priorities(
    a: TopologyNode, b: TopologyNode, options: dict[str, Any]
) -> None:
    await a.declare("q", **options)
    await a.consume("q")
    events = len(a.company.events.log)
    await a.consume("q")
    assert (len(a.company.events.log), b.vhost.queues["q"].turns.is_ranked) == (events, False)
    consumer = await b.consume("q", priority=5)
    assert priorities(a) == {"a": 0, "b": 5}
    assert [node.vhost.queues["q"].turns.is_ranked for node in (a, b)] == [True, True]
    await b.cancel(b.vhost.queues["q"], consumer)
    assert priorities(a) == {"a": 0}
    assert [node.vhost.queues["q"].turns.is_ranked for node in (a, b)] == [False, False]


async def test_an_exclusive_consumer_cannot_have_a_queue_with_a_single_active_one(a: TopologyNode) -> None:
    queue = await a.declare("q", x_single_active_consumer=True)
    with pytest.raises(AccessRefused, match="in exclusive use"):
        await a.consume("q", is_exclusive=True)
    assert a.vhost.consumers.subscriptions.of(queue.queue_id) == {}


# Traces of incarnations that are over


async def traces_removed(by: TopologyNode, *living: TopologyNode) -> int:
    async def read_living() -> set[Incarnation]:
        return {node.incarnation for node in living}

    return await remove_orphans(by.vhosts.values, read_living)


async def test_what_a_incarnation_that_is_over_has_left_is_removed_everywhere(
    company: Company, a: TopologyNode
) -> None:
    b, dead = await company.node("b"), await company.node("dead")
    await dead.declare("exclusive", owner=object())
    for name in ("its", "shared"):
        await a.declare(name, auto_delete=True)
        await dead.consume(name)
    await a.declare("kept")
    await dead.consume("kept", is_exclusive=True)
    await b.consume("shared")
    await a.declare("mine", owner=object())
    del company.nodes["dead"]
    assert await traces_removed(a, a, b) == 1
    assert sorted(b.vhost.queues) == sorted(a.vhost.queues) == ["kept", "mine", "shared"]
    assert subscribers(b, "shared") == ["b"]
    assert subscribers(b, "kept") == []
    assert a.hash == b.hash


async def test_a_incarnation_whose_orphans_arrive_while_the_living_are_read_is_spared(
    a: TopologyNode, b: TopologyNode
) -> None:
    await a.declare("first", owner=object())

    async def read_living() -> set[Incarnation]:
        await b.declare("q", owner=object())
        return {a.incarnation}

    assert await remove_orphans(a.vhosts.values, read_living) == 0
    assert sorted(a.vhost.queues) == ["first", "q"]


async def test_without_orphans_nobody_is_asked(a: TopologyNode) -> None:
    await a.declare("q")
    assert await remove_orphans(a.vhosts.values, None) == 0  # type: ignore[arg-type]


async def test_a_new_incarnation_takes_the_place_of_its_node(company: Company, a: TopologyNode) -> None:
    await a.declare("q")
    old = await company.node("b", "1")
    await old.consume("q", is_exclusive=True)
    new = await company.node("b", "2")
    await new.consume("q", is_exclusive=True)
    queue = a.vhost.queues["q"]
    assert list(a.vhost.consumers.subscriptions) == [SubscriptionRecord(queue.queue_id, "b", "2", True)]
    assert a.hash == new.hash


async def test_what_former_incarnations_of_a_node_have_left_is_gone_when_it_starts_again(company: Company) -> None:
    a, b = await company.node("a"), await company.node("b")
    await a.declare("reply", owner=object())
    await b.declare("its", owner=object())
    await b.declare("auto", auto_delete=True)
    await a.consume("auto")
    await b.declare("kept")
    await a.consume("kept", is_exclusive=True)
    again = await company.node("a", "2")

    await remove_own_orphans(again.vhosts.values, again.incarnation)

    assert sorted(again.vhost.queues) == sorted(b.vhost.queues) == ["its", "kept"]
    assert (await again.declare("reply", owner=object())).name == "reply"
    assert not (await again.consume("kept", is_exclusive=True)).is_cancelled
    assert again.hash == b.hash


async def test_a_node_that_has_left_nothing_removes_nothing(company: Company, a: TopologyNode) -> None:
    await a.declare("q", owner=object())
    before = a.replicator.applied

    await remove_own_orphans(a.vhosts.values, a.incarnation)

    assert (a.replicator.applied, list(a.vhost.queues)) == (before, ["q"])
