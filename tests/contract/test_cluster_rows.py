"""What the real stores promise a cluster beyond what is simulated: the timeline, names, restarts, whose lease it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from broker.errors import StoreError
from broker.ports.cluster_rows import (
    ChangeType,
    Claim,
    Incarnation,
    Lease,
    Leave,
    MembershipChange,
    NodeRow,
    NodeState,
    Register,
    Resign,
)
from broker.ports.store import Store
from broker.store.memory.store import MemoryStore
from tests.contract.cluster_calls import NEVER_HELD, beat, claim, register, renew, up
from tests.contract.harness import Harness, server_maker
from tests.contract.test_schema import NAMES
from tests.support.databases import DatabaseServer


async def test_the_timeline_has_each_change_once(harness: Harness) -> None:
    cluster = harness.store.cluster
    await register(cluster, "a", "a1")
    await claim(cluster, NEVER_HELD, "t1", "a")
    await claim(cluster, NEVER_HELD, "t2", "b")
    await register(cluster, "b", "b1")
    await register(cluster, "b", "b2")
    await beat(cluster, "b", "b1")
    await cluster.evict(up("b", "b1"), 1, "t1")
    await cluster.evict(up("b", "b1", beat=1), 2, "t1")
    await cluster.evict(up("b", "b1", beat=1), 1, "t1")
    await cluster.evict(up("b", "b1", beat=1), 1, "t1")
    await cluster.leave(Leave("b1"), "b")
    await cluster.leave(Leave("a1"), "a")
    await cluster.leave(Leave("a1"), "a")

    changes = [
        MembershipChange(ChangeType.MEMBER_ADDED, "a", "a1", "a"),
        MembershipChange(ChangeType.COORDINATOR_CHANGED, "a", "t1", "a"),
        MembershipChange(ChangeType.MEMBER_ADDED, "b", "b1", "b"),
        MembershipChange(ChangeType.MEMBER_REMOVED, "b", "b1", "a"),
        MembershipChange(ChangeType.MEMBER_REMOVED, "a", "a1", "a"),
    ]
    assert list(await cluster.timeline(100)) == changes[::-1]
    times = [change.happened_ms for change in await cluster.timeline(100)]
    assert times == sorted(times, reverse=True)
    assert times[-1] > 1_700_000_000_000 or isinstance(harness.store, MemoryStore)
    assert list(await cluster.timeline(2)) == changes[:2:-1]


async def test_the_timeline_tells_that_a_new_incarnation_ended_the_old_one(harness: Harness) -> None:
    cluster = harness.store.cluster
    await register(cluster, "a", "a1")
    await register(cluster, "a", "a2", up("a", "a1"))

    assert list(await cluster.timeline(2)) == [
        MembershipChange(ChangeType.MEMBER_ADDED, "a", "a2", "a"),
        MembershipChange(ChangeType.MEMBER_REMOVED, "a", "a1", "a"),
    ]


async def test_the_timeline_does_not_know_who_evicted_after_having_resigned(harness: Harness) -> None:
    cluster = harness.store.cluster
    await claim(cluster, NEVER_HELD, "t1", "a")
    await register(cluster, "b", "b1")
    await cluster.resign(Resign(1, "t1"), "a")
    await cluster.evict(up("b", "b1"), 1, "t1")

    assert list(await cluster.timeline(1)) == [MembershipChange(ChangeType.MEMBER_REMOVED, "b", "b1", None)]


async def test_the_timeline_tells_who_is_not_reached_and_is_again(harness: Harness) -> None:
    store = harness.store
    await store.members.note_contact(Incarnation("b", "b1"), False, "a")
    await store.members.note_contact(Incarnation("b", "b1"), True, "a")

    assert list(await store.cluster.timeline(2)) == [
        MembershipChange(ChangeType.MEMBER_REACHABLE, "b", "b1", "a"),
        MembershipChange(ChangeType.MEMBER_UNREACHABLE, "b", "b1", "a"),
    ]


async def test_only_who_holds_the_lease_renews_or_resigns_it(harness: Harness) -> None:
    cluster = harness.store.cluster
    await claim(cluster, NEVER_HELD, "t1", "a")

    assert not await renew(cluster, 1, "t1", "b")
    await cluster.resign(Resign(1, "t1"), "b")

    assert await cluster.read_lease() == Lease(1, 0, "t1", "a")


async def test_a_cluster_survives_a_restart(make_shared_store: Callable[[], Store]) -> None:
    harness = await Harness.start(make_shared_store)
    await claim(harness.store.cluster, NEVER_HELD, "t1", "a")
    await renew(harness.store.cluster, 1, "t1", "a")
    await register(harness.store.cluster, "a", "a1")
    await beat(harness.store.cluster, "a", "a1")

    await harness.crash()

    cluster = harness.store.cluster
    assert await cluster.read_lease() == Lease(1, 1, "t1", "a")
    assert list(await cluster.nodes()) == [up("a", "a1", beat=1)]
    assert len(await cluster.timeline(100)) == 2
    assert not await claim(cluster, NEVER_HELD, "t2", "b")
    assert await cluster.evict(up("a", "a1", beat=1), 1, "t1")
    await harness.store.close()


async def test_nodes_have_names_of_all_characters(harness: Harness) -> None:
    cluster = harness.store.cluster
    for number, name in enumerate(NAMES):
        assert await cluster.register_node(Register(None, f"incarnation {number}", 0.0, 0.0), name, name, number)
        assert await beat(cluster, name, f"incarnation {number}")

    assert {row.node_id: row for row in await cluster.nodes()} == {
        name: NodeRow(name, f"incarnation {number}", 1, 1, NodeState.UP, name, number)
        for number, name in enumerate(NAMES)
    }


async def test_every_name_can_coordinate_alone(harness: Harness) -> None:
    cluster = harness.store.cluster
    seen = NEVER_HELD
    for epoch, name in enumerate(NAMES, 1):
        assert await cluster.claim(Claim(seen, f"t{epoch}", 0.0, 0.0), name, name, 7611)
        assert not await renew(cluster, epoch, f"t{epoch}", NAMES[epoch - 2])
        assert await renew(cluster, epoch, f"t{epoch}", name)
        seen = await cluster.read_lease()
        assert seen == Lease(epoch, 1, f"t{epoch}", name)


async def test_a_closed_store_says_so(harness: Harness) -> None:
    await harness.store.close()

    with pytest.raises(StoreError, match="not open"):
        await harness.store.cluster.read_lease()


async def test_a_servers_heartbeat_is_in_milliseconds_of_its_own_clock(
    database_server: DatabaseServer, database: str
) -> None:
    store = server_maker(database_server, database)()
    await store.open()
    await claim(store.cluster, NEVER_HELD, "t1")
    await store.close()

    is_mariadb = database_server.kind == "mariadb"
    now_ms = "UNIX_TIMESTAMP() * 1000" if is_mariadb else "EXTRACT(EPOCH FROM clock_timestamp()) * 1000"
    beat_ms = "LAST_HEARTBEAT FROM MB_COORDINATOR_HEARTBEAT"
    beat_ms = beat_ms if is_mariadb else '"LAST_HEARTBEAT" FROM "MB_COORDINATOR_HEARTBEAT"'
    age_ms = float(database_server.sql(f"SELECT {now_ms} - {beat_ms}", database))
    assert -1_000 <= age_ms < 60_000
