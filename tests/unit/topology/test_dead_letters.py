"""How dead letters are carried; what they look like is in unit/amqp/test_channel_dead_letters.py."""

from __future__ import annotations

import pytest

from broker.codec.methods import BasicGet, BasicReject, ExchangeDeclare, QueueBind, QueueDelete
from broker.codec.properties import BasicProperties
from broker.message import SETTLED
from broker.queue.outcome import REJECTED
from broker.topology import dead_letters
from broker.topology.read_gate import HIGH_WATERMARK
from tests.support.harness import Client, Harness
from tests.unit.amqp.test_channel_dead_letters import with_letters
from tests.unit.amqp.test_channel_ttl import declare, everything, ready, stored

PERSISTENT = BasicProperties(delivery_mode=2)


def held(count: int) -> tuple[Harness, Client]:
    """Return a node whose client holds so many messages of q, and whose store waits."""
    harness = Harness()
    peer = with_letters(harness.peer())
    peer.publish("q", *[b"%d" % number for number in range(count)], properties=PERSISTENT)
    harness.commit()
    for _ in range(count):
        peer.call(1, BasicGet(queue="q"))
    harness.gate.is_open = False
    return harness, peer


def test_what_waits_is_dying_and_counts_for_publishers() -> None:
    harness, peer = held(2)
    queue = harness.vhost.queues["q"]
    weights = [message.weight for message in peer.connection.channels[1].deliveries.unacked.values()]
    peer.send(1, BasicReject(1, False))
    peer.send(1, BasicReject(2, False))
    assert len(queue.dying) == 2
    assert harness.journal.held == sum(weights)
    harness.gate.is_open = True
    harness.run()
    assert not queue.dying
    assert harness.journal.held == 0
    peer.contents()
    assert everything(peer, "dead") == [b"0", b"1"]


def test_many_go_in_several_transactions() -> None:
    harness, peer = held(dead_letters._AT_ONCE + 1)
    before = harness.journal.transactions
    for tag in range(1, dead_letters._AT_ONCE + 2):
        peer.send(1, BasicReject(tag, False))
    harness.gate.is_open = True
    harness.run()
    assert harness.journal.transactions - before in (2, 3), "the first may have gone alone"
    assert ready(peer, "dead") == dead_letters._AT_ONCE + 1


def test_nothing_more_is_read_while_much_waits() -> None:
    harness, peer = held(1)
    queue = harness.vhost.queues["q"]
    gate = harness.parts.dead_letters.gate
    assert gate.has_room(queue)
    message = peer.connection.channels[1].deliveries.unacked[1]
    message.weight = HIGH_WATERMARK + 1
    peer.send(1, BasicReject(1, False))
    assert not gate.has_room(queue)
    harness.broker.touched.clear()
    harness.gate.is_open = True
    harness.stage.run()
    assert gate.has_room(queue)
    assert message.state == SETTLED


def test_a_letter_of_a_queue_that_is_deleted_meanwhile_still_arrives() -> None:
    harness, peer = held(1)
    peer.send(1, BasicReject(1, False))
    harness.vhost.queues["q"].begin_delete()
    harness.gate.is_open = True
    harness.run()
    assert ready(peer, "dead") == 1


def test_a_letter_to_a_queue_that_is_deleted_meanwhile_is_dropped() -> None:
    harness, peer = held(1)
    peer.send(1, BasicReject(1, False))
    dead = harness.vhost.queues["dead"]
    dead.delete()
    harness.gate.is_open = True
    harness.run()
    harness.commit()
    assert not harness.vhost.queues["q"].dying


def test_a_row_with_a_header_that_nobody_can_read_is_dropped() -> None:
    harness, peer = held(1)
    harness.gate.is_open = True
    queue = harness.vhost.queues["q"]
    message = peer.connection.channels[1].deliveries.unacked.pop(1)
    message.header = message.header[:16] + b"\xff\xfe\xff\xce"
    queue.settle((message,), REJECTED)
    harness.run()
    assert not queue.dying
    assert ready(peer, "dead") == 0


def kept(count: int, properties: BasicProperties = PERSISTENT) -> tuple[Harness, Client]:
    """Return a node with so many dead letters of q that have no queue to go to, and must not be lost."""
    harness = Harness()
    peer = harness.peer()
    letters = {"dead_letter_exchange": "later", "dead_letter_strategy": "at-least-once", "overflow": "reject-publish"}
    peer.send(1, ExchangeDeclare(exchange="later", type="fanout"))
    declare(peer, queue_type="quorum", delivery_limit=-1, **letters)
    peer.publish("q", *[b"%d" % number for number in range(count)], properties=properties)
    harness.commit()
    for tag in range(1, count + 1):
        peer.send(1, BasicGet(queue="q"))
        peer.send(1, BasicReject(tag, False))
    peer.received()
    peer.contents()
    return harness, peer


def bind_dead(peer: Client) -> None:
    declare(peer, "dead")
    peer.call(1, QueueBind(queue="dead", exchange="later"))


def test_letters_that_wait_for_a_queue_lie_in_the_store_only() -> None:
    harness, peer = kept(5)
    assert stored(harness) == 5
    assert harness.journal.held == 0, "publishers do not wait for them"
    for _ in range(3):
        harness.parts.dead_letters.retry()
        harness.run()
    assert stored(harness) == 5
    bind_dead(peer)
    harness.parts.dead_letters.retry()
    harness.run()
    harness.commit()
    assert everything(peer, "dead") == [b"%d" % number for number in range(5)]
    harness.commit()
    assert stored(harness) == 0
    assert harness.journal.held == 0


def test_all_that_wait_follow_the_first_that_have_a_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "_AT_ONCE", 10)
    harness, peer = kept(35)
    bind_dead(peer)
    harness.parts.dead_letters.retry()
    harness.run()
    assert ready(peer, "dead") == 35


def test_letters_that_wait_go_with_their_queue() -> None:
    harness, peer = kept(3)
    peer.call(1, QueueDelete(queue="q"))
    harness.commit()
    bind_dead(peer)
    harness.parts.dead_letters.retry()
    harness.run()
    assert ready(peer, "dead") == 0


def test_letters_that_are_not_stored_wait_in_memory_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "HIGH_WATERMARK", 2000)
    harness, peer = kept(10, BasicProperties())
    bind_dead(peer)
    harness.parts.dead_letters.retry()
    harness.run()
    assert everything(peer, "dead") == [b"0", b"1", b"2"]
    assert harness.journal.held == 0


def test_a_letter_that_would_go_round_for_ever_does_not_wait() -> None:
    harness = Harness()
    peer = harness.peer()
    letters = {"dead_letter_strategy": "at-least-once", "overflow": "reject-publish", "queue_type": "quorum"}
    declare(peer, dead_letter_exchange="", dead_letter_routing_key="q", message_ttl=10, **letters)
    peer.publish("q", b"m", properties=PERSISTENT)
    harness.commit()
    harness.pass_time(0.01)
    harness.commit()
    assert stored(harness) == 0
