"""Messages that were published on one node and are wanted on the other (ADR 19)."""

from __future__ import annotations

from time import monotonic

from tests.cluster.clients import consume, numbered, process_until, publish, ready_becomes
from tests.cluster.conftest import ChannelOf
from tests.support.cluster import ClusterOfProcesses


def test_what_is_published_on_one_node_is_consumed_on_the_other_in_order(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    here, there = channel_of(pair[0]), channel_of(pair[1])
    here.queue_declare(name, durable=True)
    taking = consume(there, name)
    here.confirm_delivery()
    publish(here, name, numbered(200))
    taking.wait(200)
    assert taking.first_time == numbered(200)


def test_a_backlog_is_consumed_on_all_nodes_and_each_message_once(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    here, there = channel_of(pair[0]), channel_of(pair[1])
    here.queue_declare(name, durable=True)
    here.tx_select()
    publish(here, name, numbered(3000))
    here.tx_commit()
    first, second = consume(channel_of(pair[0]), name, prefetch=20), consume(there, name, prefetch=20)
    until = monotonic() + 20
    while len(first.taken) + len(second.taken) < 3000:
        assert monotonic() < until, f"{len(first.taken)} and {len(second.taken)} of 3000"
        first.channel.connection.process_data_events(time_limit=0.01)
        second.channel.connection.process_data_events(time_limit=0.01)
    assert sorted(map(int, first.bodies + second.bodies)) == list(range(3000))
    for taking in (first, second):
        numbers = list(map(int, taking.first_time))
        assert numbers == sorted(numbers)


def test_transient_messages_cross_too(pair: ClusterOfProcesses, channel_of: ChannelOf, name: str) -> None:
    here, there = channel_of(pair[0]), channel_of(pair[1])
    here.queue_declare(name)
    here.confirm_delivery()
    publish(here, name, numbered(50), persistent=False)
    assert consume(there, name).wait(50) == numbered(50)


def test_what_is_confirmed_on_one_node_can_be_got_on_the_other(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    here, there = channel_of(pair[0]), channel_of(pair[1])
    here.queue_declare(name, durable=True)
    here.confirm_delivery()
    for number in range(20):
        publish(here, name, [b"%d" % number])
        method, _, body = there.basic_get(name, auto_ack=True)
        assert method is not None, f"message {number} is not there"
        assert body == b"%d" % number
    assert there.basic_get(name) == (None, None, None)


def test_messages_are_counted_on_every_node_within_a_second(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    here, there = channel_of(pair[0]), channel_of(pair[1])
    here.queue_declare(name, durable=True)
    here.confirm_delivery()
    there.confirm_delivery()
    publish(here, name, numbered(30))
    publish(there, name, numbered(12))
    ready_becomes(there, name, (42, 0), 2.0)
    ready_becomes(here, name, (42, 0), 2.0)


def test_a_purge_on_one_node_removes_the_messages_of_all(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    here, there = channel_of(pair[0]), channel_of(pair[1])
    here.queue_declare(name, durable=True)
    here.confirm_delivery()
    there.confirm_delivery()
    publish(here, name, numbered(30))
    publish(there, name, numbered(12))
    ready_becomes(there, name, (42, 0), 2.0)
    assert there.queue_purge(name).method.message_count == 42
    ready_becomes(here, name, (0, 0), 2.0)
    assert here.basic_get(name) == (None, None, None)


def test_what_a_closed_channel_held_is_redelivered_on_the_other_node(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    here, there = channel_of(pair[0]), channel_of(pair[1])
    here.queue_declare(name, durable=True)
    here.confirm_delivery()
    publish(here, name, numbered(10))
    holding = consume(channel_of(pair[0]), name, acks=False)
    holding.wait(10)
    taking = consume(there, name)
    holding.channel.connection.close()
    assert taking.wait(10) == numbered(10)
    assert all(taken.redelivered for taken in taking.taken)


def test_a_browser_shows_what_lies_on_another_node(pair: ClusterOfProcesses, channel_of: ChannelOf, name: str) -> None:
    here = channel_of(pair[0], vhost="carbon")
    there = channel_of(pair[1], vhost="carbon")
    here.queue_declare(name, durable=True)
    here.confirm_delivery()
    publish(here, name, numbered(20))
    shown: list[bytes] = []
    arguments = {"x-filter-no-consume": True, "x-filter-auto-close": True}
    tag = there.basic_consume(name, lambda _, __, ___, body: shown.append(body), auto_ack=True, arguments=arguments)
    process_until(there, lambda: len(shown) >= 20)
    assert shown == numbered(20)
    there.connection.process_data_events(time_limit=0)
    assert tag
    assert here.queue_declare(name, passive=True).method.message_count == 20
