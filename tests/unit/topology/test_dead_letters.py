"""How dead letters are carried; what they look like is in unit/amqp/test_channel_dead_letters.py."""

from __future__ import annotations

from broker.codec.methods import BasicGet, BasicReject
from broker.codec.properties import BasicProperties
from broker.message import SETTLED
from broker.queue.outcome import REJECTED
from broker.topology import dead_letters
from tests.support.harness import Client, Harness
from tests.unit.amqp.test_channel_dead_letters import with_letters
from tests.unit.amqp.test_channel_ttl import everything, ready

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
    letters = harness.parts.dead_letters
    assert letters.has_room(queue)
    message = peer.connection.channels[1].deliveries.unacked[1]
    message.weight = dead_letters._MANY_OCTETS + 1
    peer.send(1, BasicReject(1, False))
    assert not letters.has_room(queue)
    harness.broker.touched.clear()
    harness.gate.is_open = True
    harness.stage.run()
    assert letters.has_room(queue)
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
