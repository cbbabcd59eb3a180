"""Messages and queues with a time to live: contract F1 to F3."""

from __future__ import annotations

import pytest

from broker.codec.field_table import FieldTable
from broker.codec.methods import (
    BasicCancel,
    BasicCancelOk,
    BasicConsume,
    BasicConsumeOk,
    BasicGet,
    BasicGetEmpty,
    BasicGetOk,
    BasicQos,
    BasicReject,
    ChannelClose,
    ConfirmSelect,
    QueueDeclare,
    QueueDeclareOk,
    TxCommit,
    TxSelect,
)
from broker.codec.properties import BasicProperties
from broker.queue.settings import QueueLimits
from tests.support.harness import Client, Harness
from tests.support.stage import drive

PERSISTENT = BasicProperties(delivery_mode=2)


def declare(peer: Client, name: str = "q", channel: int = 1, **arguments: object) -> Client:
    table = FieldTable.of({f"x-{key.replace('_', '-')}": value for key, value in arguments.items()})
    assert isinstance(peer.call(channel, QueueDeclare(queue=name, durable=True, arguments=table)), QueueDeclareOk)
    return peer


def living(expiration: int, delivery_mode: int = 2) -> BasicProperties:
    return BasicProperties(expiration=str(expiration), delivery_mode=delivery_mode)


def ready(peer: Client, name: str = "q") -> int:
    answer = peer.call(1, QueueDeclare(queue=name, passive=True))
    assert isinstance(answer, QueueDeclareOk)
    return answer.message_count


def stored(harness: Harness) -> int:
    return sum(slot.count for slot in drive(harness.store.backlog()))


def everything(peer: Client, name: str = "q") -> list[bytes]:
    """Fetch what is ready."""
    bodies = []
    while isinstance(peer.call(1, BasicGet(queue=name, no_ack=True)), BasicGetOk):
        bodies += peer.bodies()
    return bodies


@pytest.mark.parametrize("properties", [PERSISTENT, BasicProperties()])
def test_a_message_expires_when_its_queues_time_is_over(harness: Harness, peer: Client, properties: BasicProperties):
    declare(peer, message_ttl=1000)
    peer.publish("q", b"a", properties=properties)
    harness.commit()
    harness.pass_time(0.5)
    peer.publish("q", b"b", properties=properties)
    harness.pass_time(0.499)
    assert ready(peer) == 2
    harness.pass_time(0.001)
    assert ready(peer) == 1
    assert everything(peer) == [b"b"]
    harness.pass_time(10)
    harness.commit()
    assert stored(harness) == 0


def test_the_store_forgets_what_has_expired(harness: Harness, peer: Client) -> None:
    declare(peer, message_ttl=1000)
    peer.publish("q", b"a", b"b", properties=PERSISTENT)
    harness.commit()
    assert stored(harness) == 2
    harness.pass_time(1)
    harness.commit()
    assert stored(harness) == 0


def test_a_short_time_behind_a_long_one_is_over_on_time(harness: Harness, peer: Client) -> None:
    declare(peer)
    peer.publish("q", b"long", properties=living(3_600_000))
    peer.publish("q", b"short", properties=living(1000))
    peer.publish("q", b"for ever", properties=PERSISTENT)
    peer.publish("q", b"middle", properties=living(2000))
    harness.pass_time(1)
    assert ready(peer) == 3
    harness.pass_time(1)
    assert ready(peer) == 2
    assert everything(peer) == [b"long", b"for ever"]


def test_each_message_of_many_alike_lives_from_when_it_came(harness: Harness, peer: Client) -> None:
    declare(peer)
    for body in (b"a", b"b", b"c"):
        peer.publish("q", body, properties=living(1000))
        harness.pass_time(0.3)
    peer.publish("q", b"d", properties=living(200))
    harness.pass_time(0.1)
    assert everything(peer) == [b"b", b"c", b"d"]
    peer.publish("q", b"e", properties=living(200))
    harness.pass_time(0.2)
    assert ready(peer) == 0


@pytest.mark.parametrize("before", ["1000", None])
def test_an_expiration_that_is_none_is_refused_whatever_came_before(peer: Client, before: str | None) -> None:
    declare(peer)
    peer.publish("q", b"m", properties=BasicProperties(expiration=before))
    peer.publish("q", b"m", properties=BasicProperties(expiration="soon"))
    ((_, close),) = peer.received()
    assert isinstance(close, ChannelClose)
    assert close.reply_text == "PRECONDITION_FAILED - invalid expiration 'soon': no_integer"


@pytest.mark.parametrize(("of_queue", "of_message"), [(1000, 5000), (5000, 1000)])
def test_the_shorter_of_two_times_counts(harness: Harness, peer: Client, of_queue: int, of_message: int) -> None:
    declare(peer, message_ttl=of_queue)
    peer.publish("q", b"m", properties=living(of_message))
    harness.pass_time(0.999)
    assert ready(peer) == 1
    harness.pass_time(0.001)
    assert ready(peer) == 0


@pytest.mark.parametrize("by_queue", [True, False])
def test_a_message_without_time_goes_to_a_consumer_that_waits(harness: Harness, peer: Client, by_queue: bool) -> None:
    declare(peer, **({"message_ttl": 0} if by_queue else {}))
    properties = BasicProperties() if by_queue else living(0)
    peer.publish("q", b"nobody waits", properties=properties)
    assert ready(peer) == 0
    peer.send(1, BasicQos(0, 1))
    peer.call(1, BasicConsume(queue="q"))
    peer.publish("q", b"somebody waits", b"but has no credit", properties=properties)
    assert peer.bodies() == [b"somebody waits"]
    assert ready(peer) == 0


@pytest.mark.parametrize("by_queue", [True, False])
def test_a_message_without_time_has_one_chance(harness: Harness, peer: Client, by_queue: bool) -> None:
    declare(peer, **({"message_ttl": 0} if by_queue else {}))
    peer.call(1, BasicConsume(queue="q"))
    peer.publish("q", b"m", properties=BasicProperties() if by_queue else living(0))
    assert peer.bodies() == [b"m"]
    peer.send(1, BasicReject(1, True))
    assert peer.bodies() == []
    assert ready(peer) == 0


def test_what_a_consumer_holds_does_not_expire(harness: Harness, peer: Client) -> None:
    declare(peer, message_ttl=1000)
    peer.publish("q", b"m")
    peer.publish("q", b"n", properties=living(500))
    answer = peer.call(1, BasicGet(queue="q"))
    assert isinstance(answer, BasicGetOk)
    peer.call(1, BasicGet(queue="q"))
    harness.pass_time(5)
    peer.send(1, BasicReject(2, True))
    assert ready(peer) == 0, "its time was over when it came back"
    peer.send(1, BasicReject(1, True))
    assert ready(peer) == 0


def test_a_requeue_does_not_begin_the_time_anew(harness: Harness, peer: Client) -> None:
    declare(peer)
    peer.publish("q", b"m", properties=living(1000))
    peer.call(1, BasicGet(queue="q"))
    harness.pass_time(0.6)
    peer.send(1, BasicReject(1, True))
    harness.pass_time(0.3)
    assert ready(peer) == 1
    harness.pass_time(0.1)
    assert ready(peer) == 0


def test_no_consumer_gets_what_has_expired(harness: Harness, peer: Client) -> None:
    declare(peer, message_ttl=1000)
    peer.publish("q", b"m")
    peer.publish("q", b"n", properties=living(500))
    harness.clock.advance(1)  # and no timer has been served
    assert peer.call(1, BasicConsume(queue="q", consumer_tag="c")) == BasicConsumeOk("c")
    assert peer.bodies() == []


def test_consumers_get_the_living_in_order(harness: Harness, peer: Client) -> None:
    declare(peer)
    for number in range(200):
        peer.publish("q", b"%d" % number, properties=living(1000 if number % 3 else 3000))
    harness.pass_time(1)
    assert ready(peer) == 67
    peer.send(1, BasicQos(0, 10))
    peer.send(1, BasicConsume(queue="q", consumer_tag="c"))
    assert peer.bodies() == [b"%d" % number for number in range(0, 30, 3)]
    peer.received()
    assert peer.call(1, BasicCancel("c")) == BasicCancelOk("c")
    assert ready(peer) == 57
    assert everything(peer) == [b"%d" % number for number in range(30, 200, 3)]


def test_what_expires_in_a_transaction_expires_after_it(harness: Harness, peer: Client) -> None:
    declare(peer)
    peer.call(1, TxSelect())
    peer.publish("q", b"m", properties=living(1000))
    peer.call(1, TxCommit())
    assert ready(peer) == 1
    harness.pass_time(1)
    assert ready(peer) == 0


@pytest.mark.parametrize("delivery_mode", [1, 2])
def test_times_of_a_transactions_messages_begin_with_its_commit(
    harness: Harness, peer: Client, delivery_mode: int
) -> None:
    declare(peer)
    peer.call(1, TxSelect())
    for body in (b"first", b"second"):
        peer.publish("q", body, properties=living(100, delivery_mode))
        harness.pass_time(0.15)
    peer.call(1, TxCommit())
    harness.pass_time(0.05)
    assert isinstance(peer.call(1, BasicGet(queue="q", no_ack=True)), BasicGetOk)
    assert peer.bodies() == [b"first"]
    harness.pass_time(0.08)
    assert everything(peer) == []


def test_a_publisher_gets_its_confirm_for_what_has_expired(harness: Harness, peer: Client) -> None:
    declare(peer)
    peer.call(1, ConfirmSelect())
    peer.publish("q", b"m", properties=living(1000))
    assert peer.received() == []
    harness.pass_time(1)
    assert [str(method) for _, method in peer.received()] == ["BasicAck(delivery_tag=1, multiple=False)"]


@pytest.mark.parametrize("delivery_mode", [1, 2])
def test_what_lies_in_slots_expires_by_its_queues_time(delivery_mode: int) -> None:
    harness = Harness(queue_limits=QueueLimits(memory=20_000, transient_memory=20_000, window_size=10, read_ahead=20))
    peer = declare(harness.peer(), message_ttl=1000)
    peer.publish(
        "q", *[b"%d" % number for number in range(100)], properties=BasicProperties(delivery_mode=delivery_mode)
    )
    harness.commit()
    queue = harness.vhost.queues["q"]
    assert len(queue.ready) < 100
    harness.pass_time(0.5)
    peer.publish("q", b"young", properties=BasicProperties(delivery_mode=delivery_mode))
    harness.pass_time(0.5)
    for _ in range(10):
        harness.pass_time(0.01)
    assert ready(peer) == 1
    assert everything(peer) == [b"young"]


@pytest.mark.parametrize("delivery_mode", [1, 2])
def test_what_lies_in_slots_expires_by_its_own_time(delivery_mode: int) -> None:
    harness = Harness(queue_limits=QueueLimits(memory=20_000, transient_memory=20_000, window_size=10, read_ahead=20))
    peer = declare(harness.peer())
    for number in range(100):
        peer.publish("q", b"%d" % number, properties=living(1000 if number % 2 else 3000, delivery_mode))
    harness.commit()
    queue = harness.vhost.queues["q"]
    assert len(queue.ready) < 50
    harness.pass_time(1)
    harness.commit()
    assert ready(peer) == 50
    assert stored(harness) <= 50
    assert everything(peer) == [b"%d" % number for number in range(0, 100, 2)]
    harness.commit()
    assert stored(harness) == 0


def test_what_lies_in_slots_becomes_a_dead_letter_in_time(harness: Harness) -> None:
    harness = Harness(queue_limits=QueueLimits(memory=20_000, transient_memory=20_000, window_size=10, read_ahead=20))
    peer = declare(harness.peer(), dead_letter_exchange="", dead_letter_routing_key="dead")
    declare(peer, "dead")
    times = list(range(1000, 3000, 20))
    for number, time in enumerate(times):
        peer.publish("q", b"%d" % number, properties=living(time if number % 7 else 9000))
    harness.commit()
    for _ in range(150):
        harness.pass_time(0.02)
        harness.commit()
    harness.pass_time(0.5)
    harness.commit()
    dead = [number for number in range(100) if number % 7]
    assert ready(peer) == 100 - len(dead)
    assert everything(peer, "dead") == [b"%d" % number for number in dead]
    assert everything(peer) == [b"%d" % number for number in range(100) if not number % 7]


def test_a_queue_nobody_uses_is_deleted(harness: Harness, peer: Client) -> None:
    declare(peer, expires=1000)
    harness.pass_time(0.999)
    assert "q" in harness.vhost.queues
    harness.pass_time(0.001)
    assert "q" not in harness.vhost.queues


def test_each_use_of_a_queue_begins_its_time_anew(harness: Harness, peer: Client) -> None:
    declare(peer, expires=1000)
    harness.pass_time(0.9)
    declare(peer, expires=1000)
    harness.pass_time(0.9)
    assert isinstance(peer.call(1, BasicGet(queue="q")), BasicGetEmpty)
    harness.pass_time(0.9)
    peer.call(1, QueueDeclare(queue="q", passive=True))
    harness.pass_time(0.9)
    assert "q" in harness.vhost.queues
    peer.publish("q", b"m")  # this is none
    harness.pass_time(0.1)
    assert isinstance(peer.call(1, QueueDeclare(queue="q", passive=True)), ChannelClose)


def test_a_queue_with_a_consumer_is_used(harness: Harness, peer: Client) -> None:
    declare(peer, expires=1000)
    peer.call(1, BasicConsume(queue="q", consumer_tag="c"))
    harness.pass_time(100)
    peer.call(1, BasicCancel("c"))
    harness.pass_time(0.999)
    assert "q" in harness.vhost.queues
    harness.pass_time(0.001)
    assert "q" not in harness.vhost.queues


def test_messages_of_a_queue_that_expires_are_gone(harness: Harness, peer: Client) -> None:
    declare(peer, expires=1000)
    peer.publish("q", b"m", properties=PERSISTENT)
    harness.commit()
    harness.pass_time(1)
    harness.commit()
    assert stored(harness) == 0


def test_a_queue_without_times_has_no_deadline(harness: Harness, peer: Client) -> None:
    declare(peer)
    peer.publish("q", b"m")
    peer.send(1, BasicConsume(queue="q", consumer_tag="c"))
    assert peer.bodies() == [b"m"]
    assert len(harness.parts.timers) == 0


def test_a_dead_message_in_the_middle_costs_its_place_only(harness: Harness, peer: Client) -> None:
    declare(peer)
    peer.publish("q", b"first", properties=living(60_000))
    for _ in range(10):
        peer.publish("q", *[b"m"] * 100, properties=living(1000))
        harness.pass_time(1)
    assert len(harness.vhost.queues["q"].ready) == 1
    peer.send(1, BasicConsume(queue="q", consumer_tag="c"))
    assert peer.bodies() == [b"first"]


def test_a_queue_is_deleted_once_however_long_the_store_takes(harness: Harness, peer: Client) -> None:
    declare(peer, expires=1000)
    harness.gate.is_open = False
    before = len(harness.stage)
    for _ in range(50):
        harness.pass_time(0.1)
    assert len(harness.stage) - before == 1
    harness.gate.is_open = True
    harness.pass_time(0.1)
    assert "q" not in harness.vhost.queues


def test_many_that_expire_at_once_go_in_turns_and_to_nobody(harness: Harness, peer: Client) -> None:
    declare(peer, message_ttl=1000)
    peer.publish("q", *[b"m"] * 2500)
    harness.clock.advance(2)
    peer.send(1, BasicConsume(queue="q", no_ack=True))
    assert peer.bodies() == []
    for _ in range(3):
        harness.pass_time(0.02)
    assert peer.bodies() == []
    assert harness.vhost.queues["q"].ready_count == 0


def test_a_get_waits_for_what_may_not_be_read_now(harness: Harness) -> None:
    harness = Harness(queue_limits=QueueLimits(memory=20_000, transient_memory=20_000, window_size=10, read_ahead=20))
    peer = declare(harness.peer(), message_ttl=1000, dead_letter_exchange="", dead_letter_routing_key="dead")
    peer.publish("q", *[b"m"] * 200, properties=PERSISTENT)
    harness.commit()
    harness.parts.dead_letters.gate.count(1 << 30)
    harness.pass_time(2)
    peer.received()
    peer.send(1, BasicGet(queue="q"))
    assert peer.received() == [], "the loop goes on, and the get waits"
    harness.parts.dead_letters.gate.count(-(1 << 30))
    harness.pass_time(0.1)
    harness.commit()
    harness.pass_time(0.1)
    assert peer.received() == [(1, BasicGetEmpty())]
