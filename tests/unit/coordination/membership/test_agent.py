"""One agent: what it asks of the store and when, and what it tells."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import replace
from itertools import pairwise
from math import inf

import pytest
from structlog.testing import capture_logs

from broker.coordination.membership.own_row import DuplicateNodeId
from broker.errors import Evicted, StoreError
from broker.ports.cluster_rows import Incarnation, Lease, NodeRow, NodeState
from broker.ports.peer_calls import Fence
from tests.support.agents import agents
from tests.support.virtual_loop import pause, run

OLD = NodeRow("a", "old", 4, 9, NodeState.UP, "elsewhere", 1)


def test_registering_returns_the_incarnation_that_is_up() -> None:
    async def main() -> None:
        async with agents() as cluster:
            a = cluster.new("a")
            assert (a.agent.incarnation, a.agent.living, a.agent.is_trusted()) == (None, frozenset(), False)

            incarnation = await a.agent.register()

            assert (incarnation, a.agent.incarnation) == (Incarnation("a", "a-1"), incarnation)
            assert a.agent.living == {incarnation}
            assert a.agent.is_trusted()
            assert cluster.rows.nodes["a"] == NodeRow("a", "a-1", 1, 0, NodeState.UP, "host-a", 7611)

    run(lambda _: main())


def test_registering_waits_for_the_store() -> None:
    async def main() -> None:
        async with agents() as cluster:
            a = cluster.new("a")
            a.store.failing = {"*"}
            async with asyncio.TaskGroup() as tasks:
                registering = tasks.create_task(a.agent.register())
                await asyncio.sleep(60)
                assert not registering.done()
                a.store.failing = set()

            assert a.agent.is_trusted()
            assert len(a.store.calls) < 60

    run(lambda _: main())


def test_an_id_that_is_in_use_is_refused() -> None:
    async def main() -> None:
        async with agents() as cluster:
            await cluster.start("a")

            with pytest.raises(DuplicateNodeId, match=r"^node id 'a' is in use by a living node at host-a:7611"):
                await cluster.new("a").agent.register()

    run(lambda _: main())


def test_an_id_whose_node_answers_is_refused_at_once() -> None:
    asked: list[NodeRow] = []

    async def answers(row: NodeRow) -> bool:
        asked.append(row)
        return True

    async def main() -> None:
        async with agents() as cluster:
            await cluster.start("a")
            began = asyncio.get_running_loop().time()
            with pytest.raises(DuplicateNodeId, match=r"^node id 'a' is in use by a living node at host-a:7611"):
                await cluster.new("a", answers).agent.register()
            assert asyncio.get_running_loop().time() - began < 0.1

    run(lambda _: main())
    assert [(row.node_id, row.host) for row in asked] == [("a", "host-a")]


def test_an_id_whose_node_does_not_answer_is_asked_once_and_watched() -> None:
    asked: list[NodeRow] = []

    async def answers(row: NodeRow) -> bool:
        asked.append(row)
        return False

    async def main() -> None:
        async with agents() as cluster:
            cluster.rows.nodes["a"] = OLD
            with capture_logs() as logs:
                await cluster.new("a", answers).agent.register()
            assert 10.0 <= asyncio.get_running_loop().time() - 1000.0 <= 10.5
            [told] = [line for line in logs if "another process had this node's id" in line["event"]]
            assert told["seconds"] == 10.0

    run(lambda _: main())
    assert asked == [OLD]


def test_an_id_whose_node_is_silent_is_taken_after_ten_seconds() -> None:
    async def main() -> None:
        async with agents() as cluster:
            cluster.rows.nodes["a"] = OLD

            await cluster.start("a")

            assert 10.0 <= asyncio.get_running_loop().time() - 1000.0 <= 10.5
            assert cluster.rows.nodes["a"].fence == 5

    run(lambda _: main())


def test_a_node_alone_becomes_the_coordinator_at_once() -> None:
    async def main() -> None:
        async with agents() as cluster:
            with capture_logs() as logs:
                a = await cluster.start("a")
                await asyncio.sleep(1)

            assert a.heard.what("trust", "members", "elected") == [("trust", True), ("members", []), ("elected", 1)]
            fence = a.agent.fence
            assert fence == Fence(1, "a-2")
            assert (a.agent.coordinator, a.agent.known_fence) == (("host-a", 7611, fence), fence)
            assert [line["event"] for line in logs] == ["registered in the cluster", "This node is now the coordinator"]

    run(lambda _: main())


def test_in_an_hour_a_quiet_cluster_asks_little_of_the_store() -> None:
    async def main() -> None:
        async with agents() as cluster:
            a, b = await cluster.start("a"), await cluster.start("b")
            await asyncio.sleep(3600)

            for each in (a, b):
                beats, reads = len(each.store.asked("beat")), len(each.store.asked("nodes"))
                assert (720 <= beats <= 1200, 900 <= reads <= 905) == (True, True)
                assert each.heard.what("trust") == [("trust", True)]
                assert len(each.store.calls) < 4200

    run(lambda _: main())


def test_a_beat_that_is_refused_ends_the_incarnation() -> None:
    async def main() -> None:
        async with agents() as cluster:
            a = await cluster.start("a")
            await asyncio.sleep(1)
            cluster.rows.nodes["a"] = replace(cluster.rows.nodes["a"], state=NodeState.DEAD, fence=2)
            with capture_logs() as logs:
                await asyncio.sleep(6)

            assert isinstance(a.ended, Evicted)
            assert str(a.ended) == "node 'a' was evicted: its incarnation a-1 is over"
            assert not a.agent.is_trusted()
            assert a.heard.what("trust", "stepped down") == [("trust", True), ("trust", False), ("stepped down", None)]
            assert cluster.rows.lease.holder is None
            assert "Node was evicted: its incarnation is over" in [line["event"] for line in logs]
            assert "Node's trust has run out: deliveries pause" not in [line["event"] for line in logs]

            again = await cluster.start("a")
            assert again.agent.incarnation == Incarnation("a", cluster.rows.nodes["a"].incarnation)
            assert cluster.rows.nodes["a"].fence == 3

    run(lambda _: main())


@pytest.mark.parametrize("fault", ["fails", "hangs"])
def test_trust_runs_out_while_the_store_is_away_and_comes_back_with_it(fault: str) -> None:
    async def main() -> None:
        async with agents() as cluster:
            a = await cluster.start("a")
            await asyncio.sleep(60)
            away_from = asyncio.get_running_loop().time()
            if fault == "fails":
                a.store.failing = {"*"}
            else:
                a.store.delays = {"*": inf}
            with capture_logs() as logs:
                await asyncio.sleep(30)
                assert not a.agent.is_trusted()
                assert a.agent.fence is None
                a.store.failing, a.store.delays = set(), {}
                back_from = asyncio.get_running_loop().time()
                await asyncio.sleep(10)

            assert 4.0 <= a.heard.when("trust", False) - away_from <= 9.0
            assert a.heard.when("trust", True) - back_from <= 4.6
            assert a.heard.what("trust", "elected", "stepped down") == [
                ("trust", True),
                ("elected", 1),
                *sorted([("trust", False), ("stepped down", None)], key=lambda told: a.heard.when(*told)),
                *sorted([("trust", True), ("elected", 2)], key=lambda told: a.heard.when(*told)),
            ]
            assert a.ended is None
            events = [line["event"] for line in logs]
            assert events.count("the cluster's store does not answer") == 1
            assert events.count("the cluster's store answers again") == 1
            assert events.count("Node's trust has run out: deliveries pause") == 1

    run(lambda _: main())


@pytest.mark.parametrize("operations", [["read_lease", "claim", "renew"], ["nodes", "coordinator_address"]])
@pytest.mark.parametrize("delay", [1.9, inf])
def test_other_questions_that_hang_do_not_cost_the_nodes_trust(operations: list[str], delay: float) -> None:
    async def main() -> None:
        async with agents() as cluster:
            cluster.rows.lease = Lease(7, 0, "t", "z")
            a = await cluster.start("a")
            a.store.delays = dict.fromkeys(operations, delay)
            await asyncio.sleep(600)

            assert a.heard.what("trust") == [("trust", True)]
            beats = a.store.asked("beat")
            assert max(later - beat for beat, later in pairwise(beats)) <= 5.0

    run(lambda _: main())


def test_a_store_that_answers_slowly_but_in_time_costs_neither_trust_nor_power() -> None:
    async def main() -> None:
        async with agents() as cluster:
            a = await cluster.start("a")
            await asyncio.sleep(5)
            a.store.delays = {"*": 1.3}
            await asyncio.sleep(600)

            assert a.heard.what("trust", "elected", "stepped down") == [("trust", True), ("elected", 1)]

    run(lambda _: main())


def test_a_node_that_was_stopped_for_a_while_acts_on_nothing_it_believed_before() -> None:
    async def main() -> None:
        async with agents() as cluster:
            a = await cluster.start("a")
            await asyncio.sleep(60)
            before = a.agent.fence
            pause(30.0)
            assert (a.agent.is_trusted(), a.agent.fence) == (False, None)
            cluster.rows.nodes["b"] = replace(OLD, node_id="b")
            asked = len(a.store.calls)
            await asyncio.sleep(2)

            assert "evict" not in [operation for _, operation in a.store.calls[asked:]]
            assert a.agent.is_trusted()
            await asyncio.sleep(5)
            assert (before, a.agent.fence.epoch if a.agent.fence else 0) == (Fence(1, "a-2"), 2)
            assert a.heard.what("elected", "stepped down") == [
                ("elected", 1),
                ("stepped down", None),
                ("elected", 2),
            ]

    run(lambda _: main())


def test_an_answer_that_comes_after_a_long_stop_counts_as_none() -> None:
    async def main() -> None:
        async with agents() as cluster:
            a = await cluster.start("a")
            a.store.delays = {"beat": 0.5}
            await a.store.until("beat")
            pause(60.0)
            cluster.rows.nodes["a"] = replace(cluster.rows.nodes["a"], state=NodeState.DEAD, fence=2)
            for _ in range(100):
                await asyncio.sleep(0.01)
                assert not a.agent.is_trusted()

    run(lambda _: main())


def test_a_coordinator_evicts_who_is_silent_and_says_so() -> None:
    async def main() -> None:
        async with agents() as cluster:
            cluster.rows.nodes["b"] = replace(OLD, node_id="b")
            with capture_logs() as logs:
                a = await cluster.start("a")
                await asyncio.sleep(9)
                assert a.agent.living == {Incarnation("a", "a-1"), Incarnation("b", "old")}
                await asyncio.sleep(3)

            assert cluster.rows.nodes["b"] == replace(OLD, node_id="b", state=NodeState.DEAD, fence=5)
            assert a.agent.living == {Incarnation("a", "a-1")}
            assert a.heard.what("joined", "left", "members") == [
                ("joined", "b"),
                ("members", ["b"]),
                ("left", ("b", "old")),
                ("members", []),
            ]
            told = [line for line in logs if "ember" in line["event"]]
            assert [(line["event"], line["member"]) for line in told] == [
                ("Member joined", "b"),
                ("Member is silent: evicting it", "b"),
                ("Member left", "b"),
            ]

    run(lambda _: main())


def test_nobody_is_evicted_for_a_silence_in_which_the_store_was_silent_too() -> None:
    async def main() -> None:
        async with agents() as cluster:
            a = await cluster.start("a")
            await asyncio.sleep(2)
            cluster.rows.nodes["b"] = replace(OLD, node_id="b")
            await asyncio.sleep(3)
            a.store.failing = {"beat"}
            await asyncio.sleep(6)
            a.store.failing = set()
            await asyncio.sleep(8)
            assert a.store.asked("evict") == []
            await asyncio.sleep(8)
            assert len(a.store.asked("evict")) == 1

    run(lambda _: main())


def test_a_coordinator_whose_eviction_the_fence_refuses_steps_down() -> None:
    async def main() -> None:
        async with agents() as cluster:
            cluster.rows.nodes["b"] = replace(OLD, node_id="b")
            a = await cluster.start("a")
            await asyncio.sleep(2)
            cluster.rows.fence = (2, "another's")
            await a.store.until("evict")
            await asyncio.sleep(0.1)

            assert a.heard.what("elected", "stepped down") == [("elected", 1), ("stepped down", None)]
            assert cluster.rows.nodes["b"].state is NodeState.UP

    run(lambda _: main())


def test_power_over_a_lease_that_was_taken_from_somebody_begins_after_the_creation_wait() -> None:
    async def main() -> None:
        async with agents() as cluster:
            cluster.rows.lease = Lease(7, 0, "t", "z")
            cluster.rows.fence = (7, "t")
            a = await cluster.start("a")
            await asyncio.sleep(20)

            (claimed_at,) = a.store.asked("claim")
            assert a.heard.when("elected", 8) == pytest.approx(claimed_at + 3.0, abs=0.01)

    run(lambda _: main())


def test_power_that_the_store_refuses_ends_at_once() -> None:
    async def main() -> None:
        async with agents() as cluster:
            a = await cluster.start("a")
            await asyncio.sleep(2)

            a.agent.on_fenced("another term")
            assert a.agent.fence is not None
            a.agent.on_fenced(a.agent.fence.term)
            assert a.agent.fence is None
            assert a.heard.what("stepped down") == [("stepped down", None)]

    run(lambda _: main())


def test_the_address_of_another_coordinator_is_read_until_it_is_known() -> None:
    async def main() -> None:
        async with agents() as cluster:
            cluster.rows.lease = Lease(7, 0, "t", "z")
            with capture_logs() as logs:
                a = await cluster.start("a")
                a.store.failing = {"coordinator_address"}
                await asyncio.sleep(3)
                assert (a.agent.coordinator, a.agent.known_fence) == (None, Fence(7, "t"))
                assert 2 <= len(a.store.asked("coordinator_address")) <= 4
                a.store.failing = set()
                await asyncio.sleep(2)

            assert a.agent.coordinator == ("host-z", 7611, Fence(7, "t"))
            changes = [line for line in logs if line["event"] == "Coordinator changed"]
            assert [(line["coordinator"], line["epoch"]) for line in changes] == [("z", 7)]

    run(lambda _: main())


def test_a_coordinator_that_changes_while_its_address_is_read_is_found_at_once() -> None:
    async def main() -> None:
        async with agents() as cluster:
            cluster.rows.lease = Lease(7, 0, "t", "z")
            a = await cluster.start("a")
            a.store.delays = {"coordinator_address": 0.2}
            await a.store.until("coordinator_address")
            cluster.rows.lease = Lease(8, 0, "u", "y")
            await asyncio.sleep(0.6)

            assert a.agent.coordinator == ("host-y", 7611, Fence(8, "u"))

    run(lambda _: main())


def test_hints_without_end_are_heeded_ten_times_a_second() -> None:
    async def main() -> None:
        async with agents() as cluster:
            cluster.rows.lease = Lease(7, 0, "t", "z")
            a = await cluster.start("a")
            await asyncio.sleep(1)
            asked = len(a.store.calls)
            for _ in range(200):
                a.agent.on_hint()
                await asyncio.sleep(0.01)

            assert 38 <= len(a.store.calls) - asked <= 44

    run(lambda _: main())


def test_a_hint_during_a_question_is_not_lost_and_many_of_them_are_one() -> None:
    async def main() -> None:
        async with agents() as cluster:
            cluster.rows.lease = Lease(7, 0, "t", "z")
            a = await cluster.start("a")
            await asyncio.sleep(1)
            a.store.delays = {"read_lease": 0.5}
            await a.store.until("read_lease", calls=2)
            at = asyncio.get_running_loop().time() + 0.001
            for _ in range(100):
                a.agent.on_hint()
            await asyncio.sleep(1.2)

            assert len([when for when in a.store.asked("read_lease") if when >= at]) == 1
            assert len([when for when in a.store.asked("nodes") if when >= at]) == 1

    run(lambda _: main())


def test_a_node_leaves_within_a_second_though_the_store_hangs() -> None:
    async def main() -> None:
        async with agents() as cluster:
            a = await cluster.start("a")
            await asyncio.sleep(3)
            a.store.delays = {"*": inf}
            await asyncio.sleep(1.5)
            began = asyncio.get_running_loop().time()

            assert await a.agent.leave() == Fence(1, "a-2")

            assert asyncio.get_running_loop().time() - began <= 1.0
            assert not a.agent.is_trusted()
            assert (a.is_running, a.ended) == (False, None)

    run(lambda _: main())


def test_what_the_store_will_never_do_ends_the_run() -> None:
    async def main() -> None:
        async with agents() as cluster:
            a = await cluster.start("a")
            await asyncio.sleep(1)
            a.store.errors["renew"] = StoreError("the table has lost its row")
            await asyncio.sleep(6)

            assert str(a.ended) == "the table has lost its row"

    run(lambda _: main())


def test_an_error_of_the_machine_is_no_answer_and_ends_nothing() -> None:
    async def main() -> None:
        async with agents() as cluster:
            a = await cluster.start("a")
            await asyncio.sleep(1)
            a.store.errors["beat"] = MemoryError()
            a.store.errors["nodes"] = OSError(errno.EMFILE, "Too many open files")
            await asyncio.sleep(1)
            a.store.errors.clear()
            await asyncio.sleep(6)

            assert (a.is_running, a.ended) == (True, None)
            assert a.agent.is_trusted()

    run(lambda _: main())


def test_a_beat_of_the_thread_keeps_a_node_trusted_whose_own_is_late() -> None:
    async def main() -> None:
        async with agents() as cluster:
            a = await cluster.start("a")
            await asyncio.sleep(60)
            a.store.delays = {"*": inf}
            for _ in range(4):
                a.agent._deputy.on_granted(asyncio.get_running_loop().time())
                await asyncio.sleep(5)
            assert a.agent.is_trusted()
            assert a.heard.what("trust") == [("trust", True)]
            await asyncio.sleep(5)
            assert not a.agent.is_trusted()
            assert a.heard.what("trust") == [("trust", True), ("trust", False)]

    run(lambda _: main())
