"""What is declared, bound, deleted or taken exclusively on one node holds on the other (ADR 20)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pika import BasicProperties
from pika.exceptions import ChannelClosedByBroker

from tests.cluster.clients import PERSISTENT, consume, process_until, publish, ready, ready_becomes
from tests.cluster.conftest import ChannelOf
from tests.support.cluster import ClusterOfProcesses


def declare_and_publish(pair: ClusterOfProcesses, channel_of: ChannelOf, name: str, times: int) -> None:
    """Publish through one node right after the other one's declare-ok; a return raises."""
    here, there = channel_of(pair[0]), channel_of(pair[1])
    there.confirm_delivery()
    for number in range(times):
        queue = f"{name}.{number}"
        here.queue_declare(queue, durable=bool(number % 2))
        there.basic_publish("", queue, b"", PERSISTENT, mandatory=True)
        here.queue_delete(queue)


def test_what_is_published_on_one_node_right_after_a_declare_on_the_other_is_routed(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    declare_and_publish(pair, channel_of, name, 150 if pair.server.kind == "mariadb" else 50)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_thousand_declares_are_each_known_on_the_other_node(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    declare_and_publish(pair, channel_of, name, 10_000)


def test_a_binding_made_on_one_node_routes_on_the_other(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    here, there = channel_of(pair[0]), channel_of(pair[1])
    there.confirm_delivery()
    here.exchange_declare(name, "topic")
    here.queue_declare(name)
    for number in range(30):
        key = f"key.{number}"
        here.queue_bind(name, name, key)
        there.basic_publish(name, key, key.encode(), mandatory=True)
    taking = consume(here, name)
    assert len(taking.wait(30)) == 30


def test_a_selector_bound_on_one_node_selects_on_the_other(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    here, there = channel_of(pair[0], "carbon"), channel_of(pair[1], "carbon")
    here.queue_declare(name)
    here.queue_bind(name, "amq.topic", name, arguments={"x-filter-jms-selector": "color = 'red'"})
    taking = consume(here, name)
    for color in ("blue", "red", "green", "red"):
        there.basic_publish("amq.topic", name, color.encode(), BasicProperties(headers={"color": color}))
    assert taking.wait(2) == [b"red", b"red"]


def test_an_exclusive_queue_is_locked_on_the_other_node_and_can_be_published_to(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    here = channel_of(pair[0])
    here.queue_declare(name, exclusive=True)
    taking = consume(here, name)
    for attempt in (
        lambda channel: channel.queue_declare(name, exclusive=True),
        lambda channel: channel.queue_declare(name, passive=True),
        lambda channel: channel.basic_consume(name, print),
        lambda channel: channel.basic_get(name),
        lambda channel: channel.queue_delete(name),
    ):
        assert refusal(channel_of, pair, attempt) == 405
    there = channel_of(pair[1])
    there.confirm_delivery()
    publish(there, name, [b"over"], persistent=False)
    assert taking.wait(1) == [b"over"]


def test_an_exclusive_queue_goes_with_its_connection_on_every_node(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    here, there = channel_of(pair[0]), channel_of(pair[1])
    here.queue_declare(name, exclusive=True)
    here.connection.close()
    process_until(there, lambda: is_free(channel_of, pair, name), 5.0)


def test_an_auto_delete_queue_goes_with_the_last_consumer_of_all_nodes(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    here, there = channel_of(pair[0]), channel_of(pair[1])
    here.queue_declare(name, auto_delete=True)
    first, second = consume(here, name), consume(there, name)
    first.cancel()
    ready_becomes(there, name, (0, 1), 5.0)
    second.cancel()
    process_until(here, lambda: is_free(channel_of, pair, name), 5.0)


def test_an_exclusive_consumer_keeps_others_away_on_every_node(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    here = channel_of(pair[0])
    here.queue_declare(name)
    taking = consume(here, name, exclusive=True)
    assert refusal(channel_of, pair, lambda channel: channel.basic_consume(name, print)) == 403
    taking.cancel()
    process_until(here, lambda: refusal(channel_of, pair, lambda channel: channel.basic_consume(name, print)) == 0, 5.0)


def test_an_exclusive_consumer_is_refused_while_another_node_has_consumers(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    here = channel_of(pair[0])
    here.queue_declare(name)
    consume(here, name)
    assert refusal(channel_of, pair, lambda channel: channel.basic_consume(name, print, exclusive=True)) == 403


def test_a_single_active_consumer_is_one_over_all_nodes_and_the_next_one_follows(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    here, there, publisher = channel_of(pair[0]), channel_of(pair[1]), channel_of(pair[1])
    publisher.confirm_delivery()
    here.queue_declare(name, durable=True, arguments={"x-single-active-consumer": True})
    first = consume(here, name)
    second = consume(there, name)
    publish(publisher, name, [b"1", b"2", b"3"])
    assert first.wait(3) == [b"1", b"2", b"3"]
    there.connection.process_data_events(time_limit=0.3)
    assert second.bodies == []
    first.cancel()
    publish(publisher, name, [b"4", b"5"])
    assert sorted(second.wait(2)) == [b"4", b"5"]
    assert second.first_time in ([b"4", b"5"], [b"5"])  # one that took the way over the other node says so
    assert first.bodies == [b"1", b"2", b"3"]


def test_of_the_consumers_on_all_nodes_the_highest_priority_follows_the_active_one(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    here, there = channel_of(pair[0]), channel_of(pair[1])
    here.confirm_delivery()
    here.queue_declare(name, durable=True, arguments={"x-single-active-consumer": True})
    first, low = consume(here, name), consume(here, name, priority=1)
    high = consume(there, name, priority=2)
    publish(here, name, [b"1"])
    assert first.wait(1) == [b"1"]
    first.cancel()
    publish(here, name, [b"2", b"3"])
    assert sorted(high.wait(2)) == [b"2", b"3"]
    high.cancel()
    publish(here, name, [b"4"])
    assert low.wait(1) == [b"4"]
    assert (first.bodies, sorted(high.bodies)) == ([b"1"], [b"2", b"3"])


def test_a_new_binding_gets_what_every_node_has_of_a_recent_history(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    channels = [channel_of(node) for node in (pair[0], pair[1])]
    channels[0].exchange_declare(name, "x-recent-history")
    for number, channel in enumerate(channels):
        channel.confirm_delivery()
        channel.basic_publish(name, "k", b"%d" % number)
    channels[0].queue_declare(name)
    channels[0].queue_bind(name, name)
    assert sorted(consume(channels[0], name).wait(2)) == [b"0", b"1"]


def test_a_hashed_key_leads_to_the_same_queue_on_every_node(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    here, there = channel_of(pair[0]), channel_of(pair[1])
    here.exchange_declare(name, "x-consistent-hash")
    queues = [f"{name}.{number}" for number in range(3)]
    for queue in queues:
        here.queue_declare(queue)
        here.queue_bind(queue, name, "1")
    for channel in (here, there):
        channel.confirm_delivery()
        for number in range(12):
            channel.basic_publish(name, f"key.{number}", b"%d" % number)
    taken = [consume(here, queue) for queue in queues]
    process_until(here, lambda: sum(len(taking.bodies) for taking in taken) == 24, 10.0)
    for taking in taken:
        assert sorted(taking.bodies) == sorted(2 * list(set(taking.bodies)))


def test_a_queue_deleted_on_one_node_is_gone_on_the_other_and_its_consumers_are_told(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    here, there = channel_of(pair[0]), channel_of(pair[1])
    here.queue_declare(name, durable=True)
    taking = consume(there, name)
    here.queue_delete(name)
    process_until(there, lambda: bool(taking.cancelled), 5.0)
    assert refusal(channel_of, pair, lambda channel: channel.queue_declare(name, passive=True)) == 404


def test_a_queue_that_another_node_consumes_is_not_unused(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    here = channel_of(pair[0])
    here.queue_declare(name)
    consume(here, name)
    assert refusal(channel_of, pair, lambda channel: channel.queue_delete(name, if_unused=True)) == 406


def test_the_consumers_of_all_nodes_are_counted_within_a_second(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    here, there = channel_of(pair[0]), channel_of(pair[1])
    here.queue_declare(name)
    consume(here, name)
    consume(there, name)
    ready_becomes(here, name, (0, 2), 2.0)
    ready_becomes(there, name, (0, 2), 2.0)
    assert ready(there, name) == (0, 2)


def refusal(channel_of: ChannelOf, pair: ClusterOfProcesses, attempt: Callable[..., object]) -> int:
    """Return the reply code with which the second node refuses; 0 when it does not."""
    channel = channel_of(pair[1])
    code = 0
    try:
        attempt(channel)
    except ChannelClosedByBroker as error:
        code = error.reply_code
    channel.connection.close()
    return code


def is_free(channel_of: ChannelOf, pair: ClusterOfProcesses, name: str) -> bool:
    """Whether the second node knows no queue of that name."""
    return refusal(channel_of, pair, lambda channel: channel.queue_declare(name, passive=True)) == 404
