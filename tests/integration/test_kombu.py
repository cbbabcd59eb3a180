"""kombu as its documentation shows it, and the queues Celery makes with it (contract U2, U4)."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from amqp.exceptions import AccessRefused, NotAllowed, NotFound, PreconditionFailed
from kombu import Connection, Consumer, Exchange, Producer, Queue
from kombu.simple import SimpleQueue

UniqueName = Callable[[str], str]


@pytest.fixture
def connection(amqp_url: str) -> Iterator[Connection]:
    with Connection(amqp_url, transport_options={"confirm_publish": True}) as connection:
        yield connection


def drain(connection: Connection, received: list[Any], total: int) -> None:
    while len(received) < total:
        connection.drain_events(timeout=10)


def test_ensure_connection_connects(connection: Connection) -> None:
    assert connection.ensure_connection(max_retries=1, timeout=10).connected
    assert connection.connected


def test_a_producer_with_retry_and_a_consumer_exchange_json(connection: Connection, unique: UniqueName) -> None:
    exchange = Exchange(unique("media"), "direct", durable=True, auto_delete=True)
    queue = Queue(unique("video"), exchange, routing_key="video", auto_delete=True)
    received: list[tuple[object, str]] = []

    def on_message(body: object, message: Any) -> None:
        received.append((body, message.content_type))
        message.ack()

    with Consumer(connection.channel(), queues=[queue], callbacks=[on_message], accept=["json"]):
        producer = Producer(connection.channel())
        producer.publish(
            {"name": "/tmp/lolcat1.avi", "size": 1301013},
            exchange=exchange,
            routing_key="video",
            declare=[queue],
            retry=True,
            retry_policy={"max_retries": 2},
        )
        drain(connection, received, 1)
    assert received == [({"name": "/tmp/lolcat1.avi", "size": 1301013}, "application/json")]


def test_a_message_can_be_requeued_and_rejected(connection: Connection, unique: UniqueName) -> None:
    queue = Queue(unique("tasks"), exclusive=True)
    seen: list[bool] = []

    def on_message(_: object, message: Any) -> None:
        seen.append(message.delivery_info["redelivered"])
        if message.delivery_info["redelivered"]:
            message.reject()
        else:
            message.requeue()

    with Consumer(connection.channel(), queues=[queue], callbacks=[on_message]):
        Producer(connection.channel()).publish("work", routing_key=queue.name)
        drain(connection, seen, 2)
    assert seen == [False, True]


def test_a_simple_queue_puts_and_gets(connection: Connection, unique: UniqueName) -> None:
    name = unique("simple")
    queue = SimpleQueue(connection, name)
    queue.put({"hello": "world"})
    queue.put("second")
    message = queue.get(block=True, timeout=10)
    assert message.payload == {"hello": "world"}
    message.ack()
    assert queue.qsize() + len(queue.buffer) == 1
    assert queue.get(block=True, timeout=10).payload == "second"
    queue.close()
    connection.channel().queue_delete(name)


def test_an_empty_simple_queue_raises_empty(connection: Connection, unique: UniqueName) -> None:
    name = unique("simple")
    queue = SimpleQueue(connection, name)
    with pytest.raises(SimpleQueue.Empty):
        queue.get(block=True, timeout=0.1)
    queue.close()
    connection.channel().queue_delete(name)


def test_drain_events_times_out_when_nothing_comes(connection: Connection) -> None:
    connection.connect()
    with pytest.raises(socket.timeout):
        connection.drain_events(timeout=0.1)


def test_a_message_priority_and_headers_arrive_unchanged(connection: Connection, unique: UniqueName) -> None:
    queue = Queue(unique("jobs"), exclusive=True)
    bound = queue.bind(connection.channel())
    bound.declare()
    Producer(connection.channel()).publish(
        "work", routing_key=queue.name, priority=7, expiration=60, headers={"retries": 3, "origin": ["a", None, 1.5]}
    )
    message = bound.get()
    assert message is not None
    assert (message.payload, message.properties["priority"], message.properties["expiration"]) == ("work", 7, "60000")
    assert message.headers == {"retries": 3, "origin": ["a", None, 1.5]}
    assert bound.get() is None


def test_the_arguments_of_a_queue_are_part_of_its_identity(connection: Connection, unique: UniqueName) -> None:
    name = unique("priorities")
    arguments = {"x-max-priority": 10, "x-expires": 60000, "x-message-ttl": 5000, "x-queue-type": "classic"}
    Queue(name, durable=True, queue_arguments=arguments).bind(connection.channel()).declare()
    Queue(name, durable=True, queue_arguments=arguments).bind(connection.channel()).declare()
    with pytest.raises(PreconditionFailed, match="inequivalent arg 'x-max-priority'"):
        Queue(name, durable=True, queue_arguments={**arguments, "x-max-priority": 5}).bind(
            connection.channel()
        ).declare()
    Queue(name).bind(connection.channel()).delete()


def test_a_missing_queue_is_not_found(connection: Connection) -> None:
    with pytest.raises(NotFound, match=r"no queue 'no\.such\.queue' in vhost '/'"):
        connection.channel().queue_declare("no.such.queue", passive=True)


def test_an_exchange_of_another_type_is_a_failed_precondition(connection: Connection, unique: UniqueName) -> None:
    name = unique("events")
    Exchange(name, "topic", durable=False, auto_delete=True).bind(connection.channel()).declare()
    with pytest.raises(PreconditionFailed, match="inequivalent arg 'type'"):
        Exchange(name, "fanout", durable=False, auto_delete=True).bind(connection.channel()).declare()


def test_a_wrong_password_is_refused(amqp_url: str) -> None:
    with Connection(amqp_url.replace("guest:guest", "guest:wrong")) as connection, pytest.raises(AccessRefused):
        connection.connect()


def test_an_unknown_vhost_is_not_allowed(amqp_url: str) -> None:
    with Connection(f"{amqp_url}nowhere") as connection, pytest.raises(NotAllowed, match="nowhere"):
        connection.connect()


def test_unbinding_and_purging_work_on_entities(connection: Connection, unique: UniqueName) -> None:
    exchange = Exchange(unique("news"), "topic", auto_delete=True, durable=False)
    queue = Queue(unique("inbox"), exchange, routing_key="sport.#", exclusive=True).bind(connection.channel())
    queue.declare()
    producer = Producer(connection.channel(), exchange)
    producer.publish("goal", routing_key="sport.football")
    producer.publish("rain", routing_key="weather")
    assert queue.purge() == 1
    queue.unbind_from(exchange, routing_key="sport.#")


def test_celerys_remote_control_topology_answers_a_broadcast(connection: Connection, unique: UniqueName) -> None:
    broadcast = Exchange(unique("celery.pidbox"), "fanout", durable=False, delivery_mode="transient")
    replies = Exchange(unique("reply.celery.pidbox"), "direct", durable=False, delivery_mode="transient")
    options = {"durable": False, "auto_delete": True, "expires": 10.0, "message_ttl": 300.0}
    inbox = Queue(unique("celery@host.celery.pidbox"), broadcast, **options)
    reply_queue = Queue(unique("reply.celery.pidbox"), replies, routing_key="ticket", **options)
    answers: list[object] = []

    def on_command(body: dict[str, Any], _: object) -> None:
        Producer(connection.channel()).publish(
            {"pong": body["method"]}, exchange=replies.name, routing_key=body["reply_to"]
        )

    with (
        Consumer(connection.channel(), [inbox], callbacks=[on_command], no_ack=True),
        Consumer(connection.channel(), [reply_queue], callbacks=[lambda body, _: answers.append(body)], no_ack=True),
    ):
        Producer(connection.channel()).publish({"method": "ping", "reply_to": "ticket"}, exchange=broadcast.name)
        drain(connection, answers, 1)
    assert answers == [{"pong": "ping"}]
    for exchange in (broadcast, replies):
        exchange.bind(connection.channel()).delete()


def test_prefetch_set_on_a_running_channel_bounds_the_next_consumer(connection: Connection, unique: UniqueName) -> None:
    queue = Queue(unique("tasks"), exclusive=True)
    received: list[Any] = []
    consumer = Consumer(
        connection.channel(), [queue], callbacks=[lambda _, message: received.append(message)], prefetch_count=2
    )
    producer = Producer(connection.channel())
    with consumer:
        for number in range(3):
            producer.publish(number, routing_key=queue.name)
        drain(connection, received, 2)
        ready = connection.channel().queue_declare(queue.name, passive=True).message_count
        received[0].ack()
        drain(connection, received, 3)
    assert ready == 1
    assert [message.payload for message in received] == [0, 1, 2]
