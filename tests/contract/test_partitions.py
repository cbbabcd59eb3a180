"""Five nodes and minimumClusterSize 3, as in WSO2's guide: which nodes take clients when the database is cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from broker.coordination.membership.partition_detector import PartitionDetector
from tests.support.agents import HEARTBEAT_INTERVAL, Agents, Started, agents
from tests.support.virtual_loop import in_virtual_time

DETECTION = 2 * HEARTBEAT_INTERVAL
LATE = 4.0 + HEARTBEAT_INTERVAL
"""Seconds of eventPollingInterval and of the beat that is under way: what is noticed is known to all after that."""


async def five(cluster: Agents) -> list[Started]:
    started = [await cluster.start(node_id) for node_id in "abcde"]
    await asyncio.sleep(10)
    return started


def serving(nodes: Sequence[Started]) -> str:
    """Return the nodes that take clients, each by what it sees itself."""
    taking = []
    for node in nodes:
        detector = PartitionDetector(3)
        detector.on_size(node.agent.size)
        if not detector.reason:
            taking.append(node.agent.node_id)
    return "".join(taking)


@pytest.mark.parametrize(
    ("cut_off", "serve"),
    [("a", "bcde"), ("e", "abcd"), ("ab", "cde"), ("abc", ""), ("abcd", ""), ("abcde", "")],
)
@in_virtual_time
async def test_nodes_that_are_cut_off_stop_serving_and_the_others_do_below_three(cut_off: str, serve: str) -> None:
    async with agents() as cluster:
        nodes = await five(cluster)
        assert serving(nodes) == "abcde"
        for node in nodes:
            if node.agent.node_id in cut_off:
                node.store.failing.add("*")
        await asyncio.sleep(DETECTION)
        assert not set(serving(nodes)) & set(cut_off)
        await asyncio.sleep(3 * HEARTBEAT_INTERVAL + 2.0)
        assert serving(nodes) == serve


@in_virtual_time
async def test_all_serve_again_soon_after_the_last_fault() -> None:
    async with agents() as cluster:
        nodes = await five(cluster)
        for node in nodes[:3]:
            node.store.failing.add("*")
        await asyncio.sleep(8 * HEARTBEAT_INTERVAL)
        for node in nodes[:3]:
            node.store.failing.clear()
        await asyncio.sleep(LATE)
        gone = [node for node in nodes if not node.is_running]
        for node in gone:
            nodes[nodes.index(node)] = await cluster.start(node.agent.node_id)
        await asyncio.sleep(LATE)
        assert serving(nodes) == "abcde"
