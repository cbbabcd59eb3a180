"""Message groups over nodes: one node gives them out, in order, until another takes over (ADR 84)."""

from __future__ import annotations

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker

from tests.cluster.clients import Taking, consume, process_until
from tests.cluster.conftest import ChannelOf, NewCluster
from tests.support.cluster import ClusterOfProcesses

COUNT = 10


def declare(channel: BlockingChannel, name: str, **arguments: object) -> None:
    channel.queue_declare(
        name, durable=True, arguments={f"x-{key.replace('_', '-')}": arguments[key] for key in arguments}
    )
    channel.confirm_delivery()


def publish(channel: BlockingChannel, name: str, group: str, count: int = COUNT) -> None:
    properties = pika.BasicProperties(delivery_mode=2, headers={"x-group-id": group})
    for number in range(count):
        channel.basic_publish("", name, f"{group}{number}".encode(), properties)


def test_one_node_gives_groups_out_and_another_goes_on_when_nothing_is_held_there(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    first, second = channel_of(pair[0]), channel_of(pair[1])
    for channel in (first, second):
        declare(channel, name, message_groups=True)
    ours = consume(first, name, acks=False, prefetch=20)
    theirs = consume(second, name, prefetch=20)
    publish(second, name, "a")
    publish(first, name, "b")
    assert sorted(ours.wait(2)) == [b"a0", b"b0"]
    with pytest.raises(ChannelClosedByBroker, match="another node of the cluster gives out its message groups"):
        channel_of(pair[1]).basic_get(name)
    first.basic_ack(next(taken.tag for taken in ours.taken if taken.body == b"a0"))
    assert ours.wait(3)[2] == b"a1"
    ours.cancel()
    second.connection.process_data_events(time_limit=2.0)
    assert theirs.taken == [], "what the first node holds is not settled"
    first.basic_nack(0, multiple=True, requeue=True)
    process_until(second, lambda: len(theirs.taken) == 2 * COUNT - 1, 30.0, lambda: str(theirs.bodies))
    for group, begin in (("a", 1), ("b", 0)):
        its_own = [body for body in theirs.bodies if body.startswith(group.encode())]
        assert its_own == [f"{group}{number}".encode() for number in range(begin, COUNT)]


def test_consumers_of_both_nodes_hold_no_more_than_the_limit(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    first, second = channel_of(pair[0]), channel_of(pair[1])
    for channel in (first, second):
        declare(channel, name, max_unacked=3)
    ours, theirs = consume(first, name, acks=False), consume(second, name, acks=False)
    publish(first, name, "a")
    publish(second, name, "b")
    ours.wait(3)
    second.connection.process_data_events(time_limit=1.0)
    first.connection.process_data_events(time_limit=1.0)
    assert (len(ours.taken), len(theirs.taken)) == (3, 0)
    first.basic_ack(0, multiple=True)
    ours.wait(6)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["mariadb", "postgresql"])
def test_groups_keep_their_order_when_their_node_is_killed_and_comes_back(
    request: pytest.FixtureRequest, new_cluster: NewCluster, engine: str, channel_of: ChannelOf, name: str
) -> None:
    cluster = new_cluster(request.getfixturevalue(engine), 2)
    cluster.start(120.0)
    publisher = channel_of(cluster[1])
    declare(publisher, name, message_groups=True)
    groups, expected = "abcdef", 0
    settled: set[bytes] = set()
    for round_number in range(3):
        if not cluster[0].is_running():
            cluster[0].start(120.0)
        first = consume(channel_of(cluster[0]), name, acks=False, prefetch=50)
        for group in groups:
            publish(publisher, name, f"{round_number}{group}", 50)
        expected += 50 * len(groups)
        settle_some(first, settled, 100)
        second = consume(channel_of(cluster[1]), name, acks=False, prefetch=50)
        cluster[0].kill9()
        settle_some(second, settled, expected - len(settled))
        assert len(settled) == expected
        second.cancel()
        second.channel.connection.close()


def settle_some(taking: Taking, settled: set[bytes], count: int) -> None:
    """Let a consumer work on `count` messages, that were not settled before; what it holds and sees is in order."""
    channel, held, last, looked = taking.channel, dict[bytes, int](), dict[bytes, int](), 0
    done = 0
    while done < count:
        taking.wait(looked + 1, 60.0)
        for taken in taking.taken[looked:]:
            group, number = taken.body[:2], int(taken.body[2:])
            assert group not in held, f"two messages of group {group!r} are out"
            assert taken.redelivered or number > last.get(group, -1), f"{taken.body!r} comes after {last[group]}"
            last[group] = number
            held[group] = taken.tag
            done += taken.body not in settled
            settled.add(taken.body)
        looked = len(taking.taken)
        for tag in held.values():
            channel.basic_ack(tag)
        held.clear()
