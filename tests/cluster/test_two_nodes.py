"""Two nodes from two folders, as in the guide of WSO2: they find each other, share queues, outlive each other."""

from __future__ import annotations

from typing import Literal

import pytest
from pika.exceptions import UnroutableError

from tests.cluster.clients import address_of, consume, numbered, publish
from tests.cluster.conftest import ChannelOf, NewCluster
from tests.support.databases import DatabaseServer

Victim = Literal["coordinator", "member"]


@pytest.mark.parametrize(("engine", "victim"), [("mariadb", "coordinator"), ("postgresql", "member")])
def test_two_nodes_find_each_other_and_one_goes_on_when_the_other_is_killed(
    request: pytest.FixtureRequest,
    new_cluster: NewCluster,
    channel_of: ChannelOf,
    name: str,
    engine: str,
    victim: Victim,
) -> None:
    server: DatabaseServer = request.getfixturevalue(engine)
    cluster = new_cluster(server, 2)
    cluster.start()
    first, second = cluster.nodes

    first.output.wait_for("Member joined")
    second.output.wait_for("Member joined")
    assert sum(len(node.output.events("This node is now the coordinator")) for node in cluster.nodes) == 1

    dying = cluster.coordinator()
    dying = dying if victim == "coordinator" else cluster.others(dying)[0]
    [surviving] = cluster.others(dying)
    on_dying, on_surviving = channel_of(dying), channel_of(surviving)
    on_dying.confirm_delivery()
    on_dying.queue_declare(name, durable=True)
    publish(on_dying, name, numbered(100))
    taking = consume(on_surviving, name)
    assert taking.wait(100) == numbered(100)
    taking.cancel()

    publish(on_dying, name, numbered(300, 100))
    held = consume(on_dying, name, acks=False, prefetch=50)
    held.wait(50)
    dying.kill9()
    rest = consume(channel_of(surviving), name)
    rest.wait(300)

    assert sorted(map(int, rest.bodies)) == list(range(100, 400))
    flagged = {taken.body for taken in rest.taken if taken.redelivered}
    assert flagged >= set(held.bodies)
    surviving.output.wait_for("Member left")
    assert cluster.coordinator() is surviving


def test_a_node_that_was_killed_joins_again_and_serves(
    new_cluster: NewCluster, mariadb: DatabaseServer, channel_of: ChannelOf, name: str
) -> None:
    cluster = new_cluster(mariadb, 2)
    cluster.start()
    first, second = cluster.nodes
    asking = channel_of(second)
    asking.queue_declare(f"{name} reply", exclusive=True)
    address = address_of(asking, f"{name} reply")
    second.kill9()
    on_first = channel_of(first)
    on_first.queue_declare(name, durable=True)
    on_first.confirm_delivery()
    with pytest.raises(UnroutableError):
        on_first.basic_publish("", address, b"too late", mandatory=True)
    second.start()
    channel_of(second).queue_declare(f"{name} reply", exclusive=True)  # its former owner ended with the node
    cluster.wait_until_complete()
    with pytest.raises(UnroutableError):  # the node is back, who asked is not
        on_first.basic_publish("", address, b"too late", mandatory=True)
    publish(on_first, name, numbered(10))
    assert consume(channel_of(second), name).wait(10) == numbered(10)
