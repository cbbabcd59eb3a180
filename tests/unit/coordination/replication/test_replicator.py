"""Topology across nodes: recording, applying, pushing, and finding the way back (ADR 20)."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from broker.coordination.replication.event_codec import Purge, Wanted
from broker.errors import Evicted, NotFound, PreconditionFailed, ResourceLocked, StoreUnavailable
from broker.message import STORED, Message
from broker.ports.cluster_rows import EventPage, Incarnation
from broker.ports.peer_calls import Unavailable
from broker.ports.records import Drop, ExchangeRecord, Put, QueueRecord, VirtualHostRecord
from broker.topology.declaration import RemoteOwner
from tests.support import bindings
from tests.support.topology_node import Company, TopologyNode


@pytest.fixture
async def company() -> Company:
    return Company()


@pytest.fixture
async def a(company: Company) -> TopologyNode:
    return await company.node("a")


@pytest.fixture
async def b(company: Company) -> TopologyNode:
    return await company.node("b")


def routed(node: TopologyNode, exchange: str, key: str = "") -> list[str]:
    return bindings.routed(node.vhost, exchange, key)


async def test_what_one_node_declares_is_there_on_the_others_when_it_is_answered(
    a: TopologyNode, b: TopologyNode
) -> None:
    await a.exchange("x")
    queue = await a.declare("q")
    await a.bind("x", "q")
    assert routed(b, "x") == ["q"]
    assert b.vhost.queues["q"].queue_id == queue.queue_id
    assert a.hash == b.hash
    assert b.dispatches == 3


async def test_an_exchange_of_a_type_that_this_node_does_not_know_is_there_and_told_of_once(
    company: Company, a: TopologyNode, b: TopologyNode
) -> None:
    await a.replicator.record([Put(ExchangeRecord("/", "x", "x-future", durable=False))])
    with structlog.testing.capture_logs() as lines:
        await b.replicator.look()
        await b.replicator.look()
    assert "x" in b.vhost.exchanges
    assert [line["what"] for line in lines] == [
        "exchange 'x' in vhost '/' routes nothing: its type 'x-future' is unknown"
    ]


async def test_unbinding_and_deleting_reach_the_others_too(a: TopologyNode, b: TopologyNode) -> None:
    await a.exchange("x", auto_delete=True)
    await a.exchange("y")
    await a.declare("q")
    await a.bind("x", "q")
    await a.bind("y", "q")
    await b.unbind("y", "q")
    assert routed(a, "y") == []
    await b.vhost.delete_queue("q")
    assert "q" not in a.vhost.queues
    assert "x" not in a.vhost.exchanges
    await a.vhost.delete_exchange("y", if_unused=True)
    assert "y" not in b.vhost.exchanges
    assert a.hash == b.hash


async def test_a_node_that_starts_later_loads_all_there_is(company: Company, a: TopologyNode) -> None:
    await a.exchange("x")
    await a.declare("q")
    await a.declare("mine", owner=object())
    await a.bind("x", "q")
    await a.consume("q")
    late = await company.node("late")
    assert late.replicator.applied == 5
    assert late.hash == a.hash
    assert late.vhost.queues["mine"].owner == RemoteOwner(a.incarnation)


async def test_the_same_queue_declared_on_two_nodes_at_once_is_one_queue(a: TopologyNode, b: TopologyNode) -> None:
    one, other = await asyncio.gather(a.declare("q"), b.declare("q"))
    assert one.queue_id == other.queue_id
    assert a.hash == b.hash


async def test_different_declarations_at_once_are_decided_one_after_the_other(a: TopologyNode, b: TopologyNode) -> None:
    results = await asyncio.gather(a.declare("q"), b.declare("q", durable=True), return_exceptions=True)
    assert [type(result) for result in results if isinstance(result, Exception)] == [PreconditionFailed]
    assert a.hash == b.hash


async def test_a_queue_deleted_while_another_node_binds_it_is_not_found_there(a: TopologyNode, b: TopologyNode) -> None:
    await a.declare("q")
    results = await asyncio.gather(
        a.vhost.delete_queue("q"),
        b.vhost.bind("amq.fanout", ("queue", "q"), "", a.vhost.exchanges["amq.fanout"].arguments),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [int, NotFound]
    assert a.hash == b.hash


async def test_a_queue_deleted_on_two_nodes_at_once_is_deleted_once(a: TopologyNode, b: TopologyNode) -> None:
    await a.declare("q")
    await asyncio.gather(a.vhost.delete_queue("q"), b.vhost.delete_queue("q"))
    assert len(a.company.events.log) == 2
    assert a.vhost.queues == b.vhost.queues == {}


async def test_a_queue_that_others_deleted_during_our_deletion_stays_closed(a: TopologyNode, b: TopologyNode) -> None:
    await a.declare("q")
    queues = a.vhost.queues["q"], b.vhost.queues["q"]
    await asyncio.gather(a.vhost.delete_queue("q"), b.vhost.delete_queue("q"))
    assert all(queue.is_closing for queue in queues)


async def test_an_exclusive_queue_is_locked_on_every_other_node_and_can_be_routed_to(
    a: TopologyNode, b: TopologyNode
) -> None:
    owner = object()
    await a.declare("q", owner=owner)
    assert a.vhost.queue("q", owner).owner is owner
    with pytest.raises(ResourceLocked):
        b.vhost.queue("q", object())
    with pytest.raises(ResourceLocked):
        await b.declare("q", owner=object())
    assert routed(b, "", "q") == ["q"]


@pytest.mark.parametrize("failures", [["after"], ["before", "after"], ["after", "before", "after"]])
async def test_an_exclusive_queue_whose_answer_was_lost_belongs_to_the_connection(
    a: TopologyNode, b: TopologyNode, failures: list[str]
) -> None:
    owner = object()
    a.company.events.failures.extend(failures)
    queue = await a.declare("q", owner=owner)
    assert queue.owner is owner
    assert a.vhost.queues["q"] is queue
    assert len(a.company.events.log) == 1
    await a.company.settle()
    assert a.vhost.queues["q"].owner is owner
    assert a.hash == b.hash


async def test_of_two_exclusive_declarations_at_once_one_is_refused(a: TopologyNode, b: TopologyNode) -> None:
    results = await asyncio.gather(
        a.declare("q", owner=object()), b.declare("q", owner=object()), return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in results) == ["Queue", "ResourceLocked"]


async def test_a_deleted_queue_takes_messages_and_consumers_of_every_node_with_it(
    a: TopologyNode, b: TopologyNode
) -> None:
    queue = await a.declare("q")
    consumer = await b.consume("q")
    there = b.vhost.queues["q"]
    await a.vhost.delete_queue("q")
    assert consumer.is_cancelled
    assert there.is_closing
    for journal in (a.journal, b.journal):
        assert [(slot.queue_id, slot.lane, slot.start, slot.end) for slot in journal.purged] == [
            (queue.queue_id, 3, 0, (1 << 63) - 1)
        ]


async def test_others_hear_of_what_is_recorded_although_it_failed_here_after_that(
    a: TopologyNode, b: TopologyNode
) -> None:
    await a.declare("q")
    a.journal.failure = StoreUnavailable("away")
    with pytest.raises(StoreUnavailable):
        await a.vhost.delete_queue("q")
    assert "q" not in b.vhost.queues


async def test_a_peer_that_cannot_be_told_finds_out_by_itself(a: TopologyNode, b: TopologyNode) -> None:
    b.hears = False
    await a.declare("q")
    assert "q" not in b.vhost.queues
    await b.replicator.look()
    assert "q" in b.vhost.queues


async def test_a_slow_peer_is_not_waited_for_again_before_it_has_looked_by_itself(company: Company) -> None:
    a = await company.node("a", push_timeout=0.0)
    b = await company.node("b")
    b.on_push = asyncio.Event().wait
    await a.declare("p")
    await a.declare("q")
    assert b.pushes == [1]
    a.clock.advance(1.0)
    b.on_push = None
    a.replicator._announcer._timeout = 5.0
    await a.declare("r")
    assert b.pushes == [1, 3]
    assert sorted(b.vhost.queues) == ["p", "q", "r"]


async def test_a_peer_that_fails_hinders_nobody(company: Company, a: TopologyNode, b: TopologyNode) -> None:
    async def fail() -> None:
        raise Unavailable("away")

    c = await company.node("c")
    b.on_push = fail
    await a.declare("q")
    assert "q" in c.vhost.queues


async def test_one_call_tells_a_peer_of_many_changes(a: TopologyNode, b: TopologyNode) -> None:
    await asyncio.gather(*(a.declare(f"q{number}") for number in range(20)))
    assert len(b.vhost.queues) == 20
    assert len(b.pushes) < 20


async def test_a_push_of_what_is_applied_already_asks_nobody(a: TopologyNode, b: TopologyNode) -> None:
    await a.declare("q")
    a.company.events.is_away = True
    assert await b.replicator.push_events(1) == 1
    with pytest.raises(Unavailable, match="the store does not tell of topology"):
        await b.replicator.push_events(2)


async def test_a_push_of_what_does_not_exist_is_answered_with_what_does(a: TopologyNode, b: TopologyNode) -> None:
    await a.declare("q")
    assert await b.replicator.push_events(99) == 1


async def test_a_incarnation_that_is_over_changes_nothing_any_more(a: TopologyNode, b: TopologyNode) -> None:
    a.company.events.over.add(a.incarnation)
    with pytest.raises(Evicted):
        await a.declare("q")
    assert a.vhost.queues == {}


async def test_virtual_hosts_come_and_go_with_events(a: TopologyNode, b: TopologyNode) -> None:
    await a.replicator.record([Put(VirtualHostRecord("new"))])
    await b.replicator.look()
    assert "new" in b.vhosts
    await b.replicator.record([Drop(VirtualHostRecord("new"))])
    await a.replicator.look()
    assert "new" not in a.vhosts


async def test_a_purge_reaches_nodes_that_only_read_the_store_and_is_made_once(
    a: TopologyNode, b: TopologyNode
) -> None:
    await a.declare("q")
    for node in (a, b):
        queue = node.vhost.queues["q"]
        queue.append(Message(1, queue, b"", b"", b"", None, STORED))
    b.hears = False
    await a.replicator.tell(Purge(a.vhost.queues["q"].queue_id))
    assert b.vhost.queues["q"].ready_count == 1
    await b.replicator.look()
    assert b.vhost.queues["q"].ready_count == 0
    assert a.vhost.queues["q"].ready_count == 1  # who asks has purged already
    assert a.hash == b.hash


async def test_a_purge_that_comes_late_by_a_call_is_refused_when_its_node_has_sent_an_event_instead(
    a: TopologyNode, b: TopologyNode
) -> None:
    await a.declare("q")
    applied = a.replicator.applied
    b.replicator.check_purge(applied)

    await a.replicator.tell(Purge(a.vhost.queues["q"].queue_id))

    with pytest.raises(Unavailable, match="has overtaken this one"):
        b.replicator.check_purge(applied)
    b.replicator.check_purge(a.replicator.applied)


@pytest.mark.parametrize("is_deleted", [False, True])
async def test_a_node_that_may_have_been_evicted_takes_no_messages_away_for_others(
    a: TopologyNode, b: TopologyNode, is_deleted: bool
) -> None:
    """The answer may be given without it: what its clients publish then would be confirmed as purged or deleted."""
    await a.declare("q")
    queue = b.vhost.queues["q"]
    queue.append(Message(1, queue, b"", b"", b"", None, STORED))
    b.hears = False
    if is_deleted:
        await a.vhost.delete_queue("q")
    else:
        await a.replicator.tell(Purge(queue.queue_id))
    b.is_trusted = False
    with pytest.raises(StoreUnavailable, match="until this node is trusted again"):
        await b.replicator.look()
    for last in (a.replicator.applied, None):
        with pytest.raises(Unavailable, match="may have been evicted"):
            b.replicator.check_purge(last)
    assert queue.ready_count == 1
    b.is_trusted = True
    await b.replicator.look()
    assert queue.ready_count == 0


async def test_a_node_that_may_have_been_evicted_hears_of_what_takes_no_messages_away(
    a: TopologyNode, b: TopologyNode
) -> None:
    b.hears = b.is_trusted = False
    await a.declare("q")
    await b.replicator.look()
    assert "q" in b.vhost.queues


async def test_a_queue_of_which_the_store_has_more_than_is_seen_is_not_empty(a: TopologyNode) -> None:
    await a.declare("q")
    a.cluster.has_more_stored = True
    with pytest.raises(PreconditionFailed, match="queue 'q' in vhost '/' not empty"):
        await a.vhost.delete_queue("q", if_empty=True)
    a.cluster.has_more_stored = False
    assert await a.vhost.delete_queue("q", if_empty=True) == 0


async def test_what_is_wanted_is_asked_of_every_other_node(company: Company, a: TopologyNode, b: TopologyNode) -> None:
    await a.declare("q")
    await a.replicator.tell(Wanted(1, 100))
    assert (a.wanted, b.wanted) == ([], [(1, 100)])


async def test_a_purge_that_meets_a_change_of_another_node_comes_after_it(a: TopologyNode, b: TopologyNode) -> None:
    await a.declare("q")
    a.hears = False
    await b.declare("p")
    await a.replicator.tell(Purge(a.vhost.queues["q"].queue_id))
    assert "p" in a.vhost.queues
    assert a.replicator.applied == 3


# Full reloads


async def test_a_node_that_slept_longer_than_events_are_kept_loads_all(a: TopologyNode, b: TopologyNode) -> None:
    await a.exchange("old")
    await a.declare("gone")
    await a.declare("stays")
    b.hears = False
    await a.vhost.delete_queue("gone")
    await a.vhost.delete_exchange("old", if_unused=False)
    await a.declare("gone", durable=True)
    await a.bind("amq.fanout", "gone")
    await a.consume("stays")
    assert await a.company.events.prune(1) == 7
    stays, gone = b.vhost.queues["stays"], b.vhost.queues["gone"]
    await b.replicator.look()
    assert b.replicator.applied == 8
    with pytest.raises(Unavailable):
        b.replicator.check_purge(7)  # what was missed may have been a purge
    assert b.hash == a.hash
    assert b.vhost.queues["stays"] is stays
    assert gone.is_closing
    assert routed(b, "amq.fanout") == ["gone"]


async def test_housekeeping_keeps_ten_thousand_events(a: TopologyNode) -> None:
    await a.declare("q")
    assert await a.replicator.housekeep() == 0
    a.company.events.log *= 10_002
    assert await a.replicator.housekeep() == 2


async def test_an_event_that_cannot_be_applied_is_tried_and_then_all_is_loaded(
    a: TopologyNode, b: TopologyNode
) -> None:
    b.hears = False
    await a.declare("q")
    event = a.company.events.log[0]
    a.company.events.log[0] = type(event)(event.event_id, event.author, b"nonsense")
    await b.replicator.look()
    assert "q" in b.vhost.queues
    assert b.replicator.applied == 1


async def test_an_event_that_does_not_fit_is_never_skipped(a: TopologyNode, b: TopologyNode) -> None:
    await a.declare("q")
    b.vhost.routing.remove_queue("q")
    await a.bind("amq.fanout", "q")
    assert routed(b, "amq.fanout") == ["q"]
    assert a.hash == b.hash


async def test_nodes_that_differ_after_the_same_event_load_all_anew(a: TopologyNode, b: TopologyNode) -> None:
    await a.declare("q")
    b.vhost.routing.remove_queue("q")
    await a.company.settle()
    assert a.company.events.noted["a"].event_id == a.company.events.noted["b"].event_id == 1
    assert "q" in b.vhost.queues
    await b.replicator.look()
    assert a.company.events.noted["a"].topology_hash == a.company.events.noted["b"].topology_hash


async def test_the_same_difference_is_looked_into_once(a: TopologyNode, b: TopologyNode) -> None:
    await a.company.settle()
    noted = a.company.events.noted
    noted["b"] = type(noted["b"])(b.incarnation, 0, "another")
    loads = 0
    load = a.company.events.load

    async def counting() -> object:
        nonlocal loads
        loads += 1
        return await load()

    a.company.events.load = counting  # type: ignore[method-assign,assignment]
    await a.replicator.look()
    await a.replicator.look()
    await a.replicator.look()
    assert loads == 1


async def test_the_cursor_is_noted_when_it_moves_and_its_hash_once_a_second(a: TopologyNode) -> None:
    noted = a.company.events.noted
    await a.replicator.look()
    await a.declare("q")
    await a.replicator.look()
    assert (noted["a"].event_id, noted["a"].topology_hash) == (1, "")
    await a.replicator.look()
    assert noted["a"].topology_hash == ""
    a.clock.advance(1.0)
    await a.replicator.look()
    assert noted["a"].event_id == 1
    assert noted["a"].topology_hash == a.hash


async def test_others_run_while_a_large_topology_is_hashed_and_a_change_meanwhile_ends_it(a: TopologyNode) -> None:
    for number in range(1, 1200):
        a.topology.apply(Put(QueueRecord("/", f"old {number}", 1000 + number)))
    hashing = asyncio.get_running_loop().create_task(a.replicator.look())
    await asyncio.sleep(0)
    await a.declare("new")
    await hashing
    noted = a.company.events.noted
    assert (noted["a"].event_id, noted["a"].topology_hash) == (1, "")
    a.clock.advance(60.0)
    await a.replicator.look()
    assert noted["a"].topology_hash == a.hash


async def test_a_node_that_starts_shows_its_cursor_and_then_catches_up(company: Company, a: TopologyNode) -> None:
    b = await company.node("b")
    b.hears = False
    await a.declare("q")
    await b.replicator.show()
    assert company.events.noted["b"].event_id == 0
    await b.replicator.catch_up()
    assert "q" in b.vhost.queues


async def test_a_cursor_without_a_hash_is_no_difference(a: TopologyNode, b: TopologyNode) -> None:
    await a.declare("q")
    b.vhost.routing.remove_queue("q")
    await b.replicator.look()
    noted = a.company.events.noted
    noted["b"] = type(noted["b"])(b.incarnation, 1, "")
    before = dict(a.vhost.queues)
    await a.replicator.look()
    await a.replicator.look()
    assert a.vhost.queues == before


@pytest.mark.parametrize("fault", ["the store is away", "the machine has no memory"])
async def test_looking_goes_on_while_the_store_cannot_be_asked(a: TopologyNode, fault: str) -> None:
    asked: list[str] = []

    async def events(after: int, limit: int) -> EventPage:
        asked.append(fault)
        raise StoreUnavailable("away") if fault == "the store is away" else MemoryError

    a.company.events.events = events  # type: ignore[method-assign]
    a.replicator._interval = 0.0
    loop = asyncio.get_running_loop().create_task(a.replicator.run())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not loop.done()
    assert len(asked) > 1
    loop.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loop


async def test_a_record_that_meets_another_incarnation_of_this_node_leaves_its_queue_to_that_incarnation(
    company: Company,
) -> None:
    a = await company.node("a", "2")
    change = Put(QueueRecord("/", "q", 9, True, False, b"", False, "a", "1"))
    a.topology.apply(change)
    a.topology.apply(change)
    assert a.vhost.queues["q"].owner == RemoteOwner(Incarnation("a", "1"))


# Events that are pushed themselves (ADR 78)


async def pushing(company: Company, *names: str) -> list[TopologyNode]:
    return [await company.node(name, is_cut_off=lambda: False, apply_timeout=5.0) for name in names]


async def test_pushed_events_are_applied_without_a_read_of_the_store(company: Company) -> None:
    a, b = await pushing(company, "a", "b")
    read = company.events.reads
    await a.declare("p")
    await b.declare("q")
    await a.declare("r")
    assert sorted(a.vhost.queues) == sorted(b.vhost.queues) == ["p", "q", "r"]
    assert company.events.reads == read
    assert [event.event_id for event in b.pushed] == [1, 3]


async def test_a_node_that_has_missed_events_reads_them_before_it_applies_what_follows(company: Company) -> None:
    a, b = await pushing(company, "a", "b")
    b.hears = False
    for number in range(300):
        await a.replicator.record([Put(VirtualHostRecord(f"v{number}"))])
    b.hears = True
    await a.replicator.announce(300, is_certain=True)
    assert b.replicator.applied == 300
    assert {f"v{number}" for number in range(300)} <= set(b.vhosts)


async def test_who_hears_of_a_later_event_reads_it_and_otherwise_nobody_reads_for_ten_intervals(
    company: Company,
) -> None:
    a, b = await pushing(company, "a", "b")
    await b.replicator.look()
    read = company.events.reads
    b.hears = False
    await a.replicator.record([Put(VirtualHostRecord("new"))])
    await b.replicator.look()
    assert ("new" in b.vhosts, company.events.reads) == (False, read)
    b.replicator.on_contact(1)
    await b.replicator.look()
    assert "new" in b.vhosts
    await a.replicator.record([Put(VirtualHostRecord("newer"))])
    b.clock.advance(10.0)
    await b.replicator.look()
    assert "newer" in b.vhosts


async def test_a_node_that_is_cut_off_reads_the_store_as_others_do(company: Company) -> None:
    (a,) = await pushing(company, "a")
    b = await company.node("b", is_cut_off=lambda: True)
    b.hears = False
    await a.replicator.record([Put(VirtualHostRecord("new"))])
    await b.replicator.look()
    assert "new" in b.vhosts


async def test_an_event_that_cannot_be_pushed_for_its_size_is_read(company: Company) -> None:
    a, b = await pushing(company, "a", "b")
    await a.replicator.record([Put(VirtualHostRecord("x" * 300_000))])
    await a.replicator.announce(1, is_certain=True)
    assert (b.pushed, b.replicator.applied) == ([], 1)
