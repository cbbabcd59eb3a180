"""Messages that wait for their time: contract E9, and what a queue holds back by a header (docs/delayed.md)."""

from __future__ import annotations

from typing import Any

import pytest

from broker.codec.field_table import FieldTable, Timestamp
from broker.codec.methods import (
    BasicAck,
    BasicConsume,
    BasicGet,
    BasicGetOk,
    BasicPublish,
    BasicReturn,
    ChannelClose,
    ConfirmSelect,
    ExchangeDeclare,
    ExchangeDeclareOk,
    ExchangeDelete,
    QueueBind,
    QueueDeclare,
    QueueDeclareOk,
    QueueDelete,
    TxCommit,
    TxCommitOk,
    TxSelect,
)
from broker.codec.properties import BasicProperties
from broker.message import first_id_at
from broker.ports.names import SCHEDULE
from broker.queue.settings import QueueLimits
from tests.support.harness import Client, Harness
from tests.support.stage import drive


def timed(delivery_mode: int = 2, **headers: Any) -> BasicProperties:
    """Return properties with headers, in whose names underscores stand for dashes."""
    table = FieldTable.of({name.replace("_", "-"): value for name, value in headers.items()})
    return BasicProperties(headers=table, delivery_mode=delivery_mode)


def declare(peer: Client, name: str = "q", **arguments: Any) -> None:
    table = FieldTable.of({f"x-{key.replace('_', '-')}": value for key, value in arguments.items()})
    assert isinstance(peer.call(1, QueueDeclare(queue=name, durable=True, arguments=table)), QueueDeclareOk)


def got(peer: Client, queue: str = "q") -> list[bytes]:
    bodies = []
    while isinstance(peer.call(1, BasicGet(queue=queue, no_ack=True)), BasicGetOk):
        bodies += peer.bodies()
    return bodies


def waiting(harness: Harness) -> int:
    schedule = harness.vhost.schedule
    return 0 if schedule is None else schedule.ready_count


def stored(harness: Harness) -> int:
    return sum(slot.count for slot in drive(harness.store.backlog()))


def test_a_message_with_a_delay_comes_after_it_and_not_before(harness: Harness, peer: Client) -> None:
    declare(peer)
    peer.publish("q", b"later", properties=timed(x_delay=1000))
    peer.publish("q", b"now", properties=timed())
    harness.commit()
    assert got(peer) == [b"now"]
    harness.pass_time(1.0)
    harness.commit()
    assert got(peer) == []
    harness.pass_time(0.001)
    harness.commit()
    assert got(peer) == [b"later"]
    harness.commit()
    assert stored(harness) == 0


def test_the_first_due_comes_first_whatever_was_published_first(harness: Harness, peer: Client) -> None:
    declare(peer)
    for delay in (3000, 1000, 2000):
        peer.publish("q", str(delay).encode(), properties=timed(x_delay=delay))
    harness.commit()
    harness.pass_time(5)
    harness.commit()
    assert got(peer) == [b"1000", b"2000", b"3000"]


@pytest.mark.parametrize(
    "moment",
    [1_800_000_002_000, Timestamp(1_800_000_002), "2027-01-15T08:00:02+00:00", "1800000002000", "2027-01-15T08:00:02"],
)
def test_a_message_is_delivered_at_the_moment_that_it_names(harness: Harness, peer: Client, moment: Any) -> None:
    declare(peer)
    peer.publish("q", b"then", properties=timed(x_deliver_at=moment))
    harness.commit()
    harness.pass_time(1.999)
    assert got(peer) == []
    harness.pass_time(0.001)
    harness.commit()
    assert got(peer) == [b"then"]


@pytest.mark.parametrize("delay", [0, -5, True, None, [1000], "-1", 0.0])
def test_what_is_no_delay_is_delivered_at_once(harness: Harness, peer: Client, delay: Any) -> None:
    declare(peer)
    peer.publish("q", b"now", properties=timed(x_delay=delay))
    harness.commit()
    assert got(peer) == [b"now"]
    assert harness.vhost.schedule is None


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({"x_delay": "soon"}, "invalid header 'x-delay': it is no number of milliseconds"),
        ({"x_delay": (1 << 63) - 1}, "invalid header 'x-delay': it is too far in the future"),
        *(
            (
                {"x_deliver_at": value},
                "invalid header 'x-deliver-at': "
                "it is neither a number of milliseconds since 1970 nor a time of ISO 8601",
            )
            for value in (True, "tomorrow", "")
        ),
        ({"x_deliver_at": "9" * 25}, "invalid header 'x-deliver-at': it is too far in the future"),
    ],
)
def test_a_time_that_is_none_is_refused(peer: Client, headers: dict[str, Any], text: str) -> None:
    declare(peer)
    peer.publish("q", b"m", properties=timed(**headers))
    assert peer.received() == [(1, ChannelClose(406, f"PRECONDITION_FAILED - {text}", 60, 40))]


def test_a_message_is_confirmed_when_it_is_in_the_schedule_and_stored(harness: Harness, peer: Client) -> None:
    declare(peer)
    peer.call(1, ConfirmSelect())
    peer.publish("q", b"later", properties=timed(x_delay=60_000))
    assert peer.received() == []
    harness.commit()
    assert peer.received() == [(1, BasicAck(1, False))]
    assert waiting(harness) == 1


def test_a_message_that_is_not_persistent_is_stored_while_it_waits(harness: Harness, peer: Client) -> None:
    declare(peer)
    peer.publish("q", b"later", properties=timed(1, x_delay=1000))
    harness.commit()
    assert stored(harness) == 1
    harness.pass_time(2)
    harness.commit()
    assert stored(harness) == 0
    assert got(peer) == [b"later"]


def test_what_comes_behind_the_first_delayed_message_keeps_its_order(harness: Harness, peer: Client) -> None:
    declare(peer)
    harness.gate.is_open = False
    peer.publish("q", b"later", properties=timed(x_delay=1000))
    peer.publish("q", b"a", b"b", properties=timed(1))
    assert harness.vhost.queues["q"].ready_count == 0
    harness.gate.is_open = True
    harness.run()
    harness.commit()
    assert got(peer) == [b"a", b"b"]
    assert waiting(harness) == 1


def test_a_mandatory_message_must_have_a_queue_when_it_is_published(harness: Harness, peer: Client) -> None:
    declare(peer)
    peer.call(1, ConfirmSelect())
    for key in ("q", "nowhere"):
        peer.send(1, BasicPublish(routing_key=key, mandatory=True), body=b"m", properties=timed(x_delay=1000))
    harness.commit()
    answers = [method for _, method in peer.received()]
    assert [type(answer) for answer in answers] in ([BasicReturn, BasicAck], [BasicReturn, BasicAck, BasicAck])
    assert answers[0].reply_text == "NO_ROUTE"
    assert waiting(harness) == 1


def test_the_exchange_decides_when_it_is_due_where_a_message_goes(harness: Harness, peer: Client) -> None:
    for name in ("before", "after"):
        declare(peer, name)
    peer.call(1, ExchangeDeclare(exchange="x", type="fanout", durable=True))
    peer.call(1, QueueBind(queue="before", exchange="x"))
    peer.send(1, BasicPublish(exchange="x"), body=b"m", properties=timed(x_delay=1000))
    harness.commit()
    peer.call(1, QueueDelete(queue="before"))
    peer.call(1, QueueBind(queue="after", exchange="x"))
    harness.pass_time(2)
    harness.commit()
    assert got(peer, "after") == [b"m"]


@pytest.mark.parametrize("is_there", [True, False])
def test_what_has_no_queue_when_it_is_due_is_dropped(harness: Harness, peer: Client, *, is_there: bool) -> None:
    peer.call(1, ExchangeDeclare(exchange="x", type="fanout", durable=True))
    peer.send(1, BasicPublish(exchange="x"), body=b"m", properties=timed(x_delay=1000))
    harness.commit()
    if not is_there:
        peer.call(1, ExchangeDelete(exchange="x"))
    harness.pass_time(2)
    harness.commit()
    assert (stored(harness), harness.parts.firing.dropped) == (0, 1)


def test_an_alternate_exchange_gets_what_has_no_queue_when_it_is_due(harness: Harness, peer: Client) -> None:
    declare(peer)
    peer.call(1, ExchangeDeclare(exchange="other", type="fanout", durable=True))
    peer.call(1, QueueBind(queue="q", exchange="other"))
    arguments = FieldTable.of({"alternate-exchange": "other"})
    peer.call(1, ExchangeDeclare(exchange="x", type="fanout", durable=True, arguments=arguments))
    peer.send(1, BasicPublish(exchange="x"), body=b"m", properties=timed(x_delay=1000))
    harness.commit()
    harness.pass_time(2)
    harness.commit()
    assert got(peer) == [b"m"]


def test_a_delivery_says_that_it_was_delayed_and_all_else_is_as_it_was_sent(harness: Harness, peer: Client) -> None:
    declare(peer)
    table = FieldTable.of({"a": 1, "x-delay": 1000, "BCC": ["copy"], "b": "two"})
    declare(peer, "copy")
    sent = BasicProperties(headers=table, delivery_mode=2, expiration="5000", message_id="m-1", priority=3)
    peer.publish("q", b"body", properties=sent)
    harness.commit()
    harness.pass_time(2)
    harness.commit()
    for queue in ("q", "copy"):
        peer.send(1, BasicGet(queue=queue, no_ack=True))
        ((_, answer),) = peer.received()
        assert isinstance(answer, BasicGetOk)
        assert (answer.exchange, answer.routing_key, answer.redelivered) == ("", "q", False)
        (content,) = peer.contents()
        properties = content.properties
        assert properties.headers is not None
        assert list(properties.headers.values.items()) == [("a", 1), ("x-delay", -1000), ("b", "two")]
        assert (properties.expiration, properties.message_id, properties.priority) == ("5000", "m-1", 3)


def test_a_request_that_waits_names_the_channel_that_waits_for_its_reply(harness: Harness, peer: Client) -> None:
    declare(peer)
    peer.call(1, BasicConsume(queue="amq.rabbitmq.reply-to", no_ack=True))
    table = FieldTable.of({"x-delay": 1000})
    peer.publish("q", b"m", properties=BasicProperties(headers=table, reply_to="amq.rabbitmq.reply-to"))
    harness.commit()
    harness.pass_time(2)
    harness.commit()
    peer.call(1, BasicGet(queue="q", no_ack=True))
    (content,) = peer.contents()
    assert (content.properties.reply_to or "").startswith("amq.rabbitmq.reply-to.")


@pytest.mark.parametrize("is_timed", [True, False])
def test_a_user_id_of_somebody_else_is_refused_when_it_is_published(peer: Client, *, is_timed: bool) -> None:
    declare(peer)
    table = FieldTable.of({"x-delay": 1000} if is_timed else {})
    peer.publish("q", b"m", properties=BasicProperties(headers=table, user_id="somebody"))
    ((_, close),) = peer.received()
    assert isinstance(close, ChannelClose)
    assert close.reply_code == 406


def test_the_time_to_live_begins_when_the_delay_is_over(harness: Harness, peer: Client) -> None:
    declare(peer)
    table = FieldTable.of({"x-delay": 10_000})
    peer.publish("q", b"m", properties=BasicProperties(headers=table, delivery_mode=2, expiration="1000"))
    harness.commit()
    harness.pass_time(10.1)
    harness.commit()
    assert harness.vhost.queues["q"].ready_count == 1
    harness.pass_time(1.2)
    assert harness.vhost.queues["q"].ready_count == 0


def test_a_transaction_delays_when_it_is_committed_and_not_if_it_is_rolled_back(harness: Harness, peer: Client) -> None:
    declare(peer)
    peer.call(1, TxSelect())
    peer.publish("q", b"later", properties=timed(x_delay=1000))
    peer.publish("q", b"now", properties=timed())
    harness.run()
    assert waiting(harness) == 0
    peer.send(1, TxCommit())
    harness.commit()
    assert [type(method) for _, method in peer.received()] == [TxCommitOk]
    assert waiting(harness) == 1
    harness.pass_time(2)
    harness.commit()
    assert harness.vhost.queues["q"].ready_count == 2


def test_a_queue_with_no_room_gets_a_due_message_when_there_is_some(harness: Harness, peer: Client) -> None:
    declare(peer, max_length=1, overflow="reject-publish")
    peer.publish("q", b"first", properties=timed())
    peer.publish("q", b"later", properties=timed(x_delay=1000))
    harness.commit()
    for _ in range(3):
        harness.pass_time(2)
        harness.commit()
    assert (harness.vhost.queues["q"].ready_count, stored(harness)) == (1, 2)
    assert got(peer) == [b"first"]
    harness.commit()
    harness.pass_time(2)
    harness.commit()
    assert got(peer) == [b"later"]


def test_a_duplicate_is_left_out_when_it_is_due(harness: Harness, peer: Client) -> None:
    declare(peer, dedup_window=60_000)
    for delay in (1000, 2000):
        peer.publish("q", str(delay).encode(), properties=timed(x_delay=delay, x_dedup_id="key"))
    harness.commit()
    for _ in range(3):
        harness.pass_time(1.1)
        harness.commit()
    assert got(peer) == [b"1000"]
    harness.commit()
    assert stored(harness) == 0


def test_a_queue_holds_back_what_its_header_says_and_its_neighbours_do_not(harness: Harness, peer: Client) -> None:
    declare(peer, "tasks", deliver_at_header="eta")
    declare(peer, "log")
    for name in ("tasks", "log"):
        peer.call(1, QueueBind(queue=name, exchange="amq.fanout"))
    peer.call(1, ConfirmSelect())
    eta = "2027-01-15T08:00:02+00:00"
    for value in (eta, None, "", "2027-01-15T07:00:00+00:00"):
        peer.send(1, BasicPublish(exchange="amq.fanout"), body=str(value).encode(), properties=timed(eta=value))
    harness.commit()
    assert got(peer, "log") == [eta.encode(), b"None", b"", b"2027-01-15T07:00:00+00:00"]
    assert got(peer, "tasks") == [b"None", b"", b"2027-01-15T07:00:00+00:00"]
    harness.pass_time(2)
    harness.commit()
    assert got(peer, "tasks") == [eta.encode()]
    assert got(peer, "log") == []


def test_many_messages_wait_in_the_store_and_not_in_memory(harness: Harness) -> None:
    small = Harness(queue_limits=QueueLimits(memory=20_000, window_size=10, read_ahead=10))
    peer = small.peer()
    declare(peer)
    for number in range(200):
        peer.publish("q", b"%d" % number, properties=timed(x_delay=1000 + 10 * (number * 37 % 200)))
    small.commit()
    schedule = small.vhost.schedule
    assert schedule is not None
    assert (schedule.ready_count, schedule.slots.count > 10, len(schedule.in_memory) < 50) == (200, True, True)
    small.pass_time(1.5)
    small.commit()
    assert len(got(peer)) == 50
    for _ in range(4):
        small.pass_time(1)
        small.commit()
    assert len(got(peer)) == 150
    small.commit()
    assert (schedule.ready_count, schedule.slots.count, stored(small)) == (0, 0, 0)


def test_an_exchange_of_the_plugins_type_routes_as_its_argument_says(harness: Harness, peer: Client) -> None:
    declare(peer)
    arguments = FieldTable.of({"x-delayed-type": "topic"})
    declared = peer.call(1, ExchangeDeclare(exchange="d", type="x-delayed-message", durable=True, arguments=arguments))
    assert isinstance(declared, ExchangeDeclareOk)
    peer.call(1, QueueBind(queue="q", exchange="d", routing_key="a.#"))
    for delay in (1000, 1 << 32):
        message = BasicPublish(exchange="d", routing_key="a.b")
        peer.send(1, message, body=str(delay).encode(), properties=timed(x_delay=delay))
    harness.commit()
    assert got(peer) == [str(1 << 32).encode()]  # the plugin cannot wait as long, and does not wait at all
    harness.pass_time(2)
    harness.commit()
    assert got(peer) == [b"1000"]


@pytest.mark.parametrize(
    ("of_type", "text"),
    [
        (None, "Invalid argument, 'x-delayed-type' must be an existing exchange type"),
        (1, "Invalid argument, 'x-delayed-type' must be an existing exchange type"),
        ("x-delayed-message", "Invalid argument, 'x-delayed-message' can't be used for 'x-delayed-type'"),
        ("nothing", "unknown exchange type 'nothing'"),
    ],
)
def test_an_exchange_of_the_plugins_type_needs_a_type_to_route_as(peer: Client, of_type: Any, text: str) -> None:
    arguments = FieldTable.of({} if of_type is None else {"x-delayed-type": of_type})
    closed = peer.call(1, ExchangeDeclare(exchange="d", type="x-delayed-message", arguments=arguments))
    assert isinstance(closed, ChannelClose)
    assert (closed.reply_code, closed.reply_text) == (406, f"PRECONDITION_FAILED - {text}")


def test_clients_see_nothing_of_the_schedule(harness: Harness, peer: Client) -> None:
    declare(peer)
    peer.publish("q", b"later", properties=timed(x_delay=1000))
    harness.commit()
    assert SCHEDULE not in harness.vhost.queues
    closed = peer.call(1, QueueDeclare(queue=SCHEDULE, passive=True))
    assert isinstance(closed, ChannelClose)
    assert closed.reply_code == 404


def test_ids_that_are_ahead_of_the_clock_move_no_delay(harness: Harness, peer: Client) -> None:
    """They are after a start on a store whose clock was set back."""
    declare(peer)
    declare(peer, "held", deliver_at_header="eta")
    now = harness.clock.wall_ms()
    harness.broker.ids.see(first_id_at(now + 3_600_000))
    peer.publish("q", b"delay", properties=timed(x_delay=1000))
    peer.publish("q", b"moment", properties=timed(x_deliver_at=now + 1001))
    peer.publish("held", b"eta", properties=timed(eta=now + 1001))
    harness.commit()
    harness.pass_time(1.0)
    harness.commit()
    assert got(peer) + got(peer, "held") == []
    harness.pass_time(0.001)
    harness.commit()
    assert got(peer) + got(peer, "held") == [b"delay", b"moment", b"eta"]
