"""Samples of a node's figures, their rates and what they take."""

from __future__ import annotations

import pytest

from broker.codec.methods import BasicAck, BasicConsume, BasicGet, QueueDeclare, QueueDelete
from broker.management.figures.connections import channel_figures, connection_figures
from broker.management.figures.exchanges import exchange_figures
from broker.management.figures.history import SampleSpan, SampleSpans
from broker.management.figures.nodes import node_figures
from broker.management.figures.overview import overview_figures, vhost_figures
from broker.management.figures.queues import queue_figures
from broker.management.figures.sampler import Sampler
from broker.management.figures.view import NodeView
from tests.support.harness import Client, Harness
from tests.support.stage import drive

MINUTE = SampleSpans(*[SampleSpan(60, 5)] * 4)


@pytest.fixture
def sampler(view: NodeView) -> Sampler:
    sampler = view.history = Sampler(view)
    return sampler


def take(harness: Harness, sampler: Sampler, seconds: float = 5.0) -> int:
    """Let time pass and take samples; return in how many parts."""
    harness.clock.advance(seconds)
    return sum(1 for _ in sampler.sample())


def declared(harness: Harness, peer: Client, name: str = "orders") -> None:
    peer.send(1, QueueDeclare(queue=name))
    peer.received()


def rate(figures: dict[str, dict[str, dict[str, float]]], name: str) -> float:
    return figures["message_stats"][f"{name}_details"]["rate"]


def test_rates_are_those_of_the_last_five_seconds(
    harness: Harness, peer: Client, view: NodeView, sampler: Sampler
) -> None:
    declared(harness, peer)
    take(harness, sampler)
    for _ in range(10):
        peer.publish("orders", b"m")
    take(harness, sampler)
    queue = harness.vhost.queue("orders")
    assert rate(queue_figures(view, queue), "publish") == 2.0
    assert rate(overview_figures(view), "publish") == 2.0
    assert rate(vhost_figures(view, harness.vhost), "publish") == 2.0
    assert rate(exchange_figures(view, harness.vhost, harness.vhost.exchange("")), "publish_in") == 2.0
    ((connection, channel),) = view.channels()
    assert rate(channel_figures(view, connection, channel), "publish") == 2.0
    assert connection_figures(view, connection)["recv_oct_details"]["rate"] > 0
    assert queue_figures(view, queue)["messages_details"]["rate"] == 2.0
    take(harness, sampler)
    assert rate(queue_figures(view, queue), "publish") == 0.0


def test_a_node_has_rates_of_what_it_uses(harness: Harness, view: NodeView, sampler: Sampler) -> None:
    take(harness, sampler)
    harness.peer()
    take(harness, sampler)
    assert node_figures(view)["connection_created_details"]["rate"] == 0.2
    assert node_figures(view)["sockets_used_details"]["rate"] == 0.2


def test_samples_are_told_as_recorded(harness: Harness, peer: Client, view: NodeView, sampler: Sampler) -> None:
    declared(harness, peer)
    take(harness, sampler)
    peer.publish("orders", b"1", b"2", b"3", b"4", b"5")
    take(harness, sampler)
    details = overview_figures(view, MINUTE)["message_stats"]["publish_details"]
    assert set(details) == {"rate", "samples", "avg_rate", "avg"}
    assert [each["sample"] for each in details["samples"]] == [5, *[0] * 12]
    newest, before = (each["timestamp"] for each in details["samples"][:2])
    assert newest - before == 5000
    assert newest % 5000 == 0
    assert (details["rate"], details["avg_rate"], details["avg"]) == (1.0, 5 / 60, 5 / 13)


def test_what_never_changed_has_samples_of_nothing(
    harness: Harness, peer: Client, view: NodeView, sampler: Sampler
) -> None:
    declared(harness, peer)
    take(harness, sampler)
    details = queue_figures(view, harness.vhost.queue("orders"), MINUTE)["message_stats"]["ack_details"]
    assert ([each["sample"] for each in details["samples"]], details["rate"]) == ([0] * 13, 0.0)


@pytest.mark.parametrize(("age", "increment"), [(0, 5), (60, 0), (100_000, 5)])
def test_samples_that_nobody_would_look_at_are_refused(age: int, increment: int) -> None:
    with pytest.raises(ValueError, match="asked for"):
        SampleSpan(age, increment)


def test_ten_thousand_idle_queues_take_no_memory(harness: Harness, view: NodeView, peer: Client) -> None:
    sampler = Sampler(view)
    for number in range(50):
        declared(harness, peer, f"q{number}")
    take(harness, sampler)
    take(harness, sampler)
    before = len(sampler)
    for number in range(50, 100):
        declared(harness, peer, f"q{number}")
    take(harness, sampler)
    assert len(sampler) == before


def test_samples_of_many_objects_are_taken_in_parts(harness: Harness, view: NodeView, peer: Client) -> None:
    harness = Harness(max_queues=1000)
    view = NodeView(harness.broker, "NODE:1", now_ms=harness.clock.wall_ms)
    peer = harness.peer()
    for number in range(450):
        declared(harness, peer, f"q{number}")
    assert take(harness, Sampler(view)) >= 2


def test_many_objects_that_are_gone_are_forgotten_in_parts() -> None:
    harness = Harness(max_queues=1000)
    view = NodeView(harness.broker, "NODE:1", now_ms=harness.clock.wall_ms)
    peer, sampler = harness.peer(), Sampler(view)
    take(harness, sampler)
    for number in range(450):
        declared(harness, peer, f"q{number}")
        peer.publish(f"q{number}", b"m")
    take(harness, sampler)
    there = len(sampler)
    for number in range(450):
        peer.send(1, QueueDelete(queue=f"q{number}"))
    harness.clock.advance(5.0)
    parts = sampler.sample()
    next(parts)  # looking at the others takes no second part
    assert len(sampler) > there - 450
    for _ in parts:
        pass
    assert len(sampler) == there - 450


def test_when_rings_take_too_much_they_are_shorter_and_then_none(
    harness: Harness, view: NodeView, peer: Client
) -> None:
    sampler = Sampler(view, max_octets=400_000)
    for number in range(60):
        declared(harness, peer, f"q{number}")
    take(harness, sampler)
    for number in range(60):
        peer.publish(f"q{number}", b"m")
    take(harness, sampler)
    assert 350_000 < sampler.octets < 650_000
    queues = list(view.queues())
    assert all(sampler.details(queue, "publish")["rate"] == 0.2 for queue in queues)


def test_an_object_that_is_gone_is_forgotten(harness: Harness, view: NodeView, peer: Client) -> None:
    sampler = Sampler(view)
    declared(harness, peer)
    take(harness, sampler)
    octets, count = sampler.octets, len(sampler)
    peer.publish("orders", b"m")
    take(harness, sampler)
    peer.send(1, QueueDelete(queue="orders"))
    take(harness, sampler)
    assert len(sampler) == count + 2  # the channel and the exchange have published now
    assert sampler.octets > octets


def test_samples_that_are_too_old_are_given_up(harness: Harness, view: NodeView, peer: Client) -> None:
    sampler = Sampler(view)
    declared(harness, peer)
    take(harness, sampler)
    peer.publish("orders", b"m")
    take(harness, sampler)
    with_rings = sampler.octets
    take(harness, sampler, 4000.0)
    assert sampler.octets < with_rings
    assert sampler.details(harness.vhost.queue("orders"), "publish")["rate"] == 0.0


def test_a_queue_that_nobody_uses_says_since_when(
    harness: Harness, view: NodeView, peer: Client, sampler: Sampler
) -> None:
    declared(harness, peer)
    peer.publish("orders", b"m")
    take(harness, sampler)
    peer.send(1, BasicGet(queue="orders"))
    take(harness, sampler)
    queue = harness.vhost.queue("orders")
    assert "idle_since" not in queue_figures(view, queue)
    take(harness, sampler)
    assert queue_figures(view, queue)["idle_since"].endswith("+00:00")


def test_consumers_have_rates(harness: Harness, view: NodeView, peer: Client, sampler: Sampler) -> None:
    declared(harness, peer)
    take(harness, sampler)
    peer.send(1, BasicConsume(queue="orders", consumer_tag="c"))
    peer.publish("orders", b"1", b"2", b"3", b"4", b"5")
    peer.send(1, BasicAck(0, multiple=True))
    take(harness, sampler)
    ((_, channel),) = view.channels()
    (consumer,) = channel.consumers.values()
    assert sampler.details(consumer, "deliver")["rate"] == 1.0


def test_the_loop_takes_samples_at_even_seconds(harness: Harness, view: NodeView, sampler: Sampler) -> None:
    waits: list[float] = []

    class EnoughError(Exception):
        pass

    async def sleep(seconds: float) -> None:
        if len(waits) == 3:
            raise EnoughError
        waits.append(seconds)
        harness.clock.advance(seconds)

    async def next_turn() -> None:
        raise AssertionError("there is little to do")

    harness.clock.advance(3.0)
    with pytest.raises(EnoughError):
        drive(sampler.run(sleep, next_turn))
    assert waits[1:] == [5.0, 5.0]
    assert 0 < waits[0] <= 5.0
