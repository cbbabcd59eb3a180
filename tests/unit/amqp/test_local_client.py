"""A channel without a socket: it does what channels do, and gives everything back."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from broker.amqp.local_client import LocalClient
from broker.auth.access import Access
from broker.auth.identity import Identity
from broker.broker import Limits
from broker.codec.field_table import FieldTable
from broker.codec.methods import BasicGet, BasicGetEmpty, BasicGetOk, QueueDeclare, QueueDeclareOk
from broker.codec.properties import BasicProperties
from broker.errors import ConnectionForced, NotFound, PreconditionFailed
from tests.support.harness import Harness
from tests.support.stage import Event

T = TypeVar("T")


class Node:
    """A harness with a client in its process."""

    def __init__(self, **options: Any) -> None:
        self.harness = Harness(**options)
        shared, vhost = self.harness.shared, self.harness.vhost
        identity = Identity("guest", True)
        permissions = shared.access.permissions_now(identity, "/")
        access = Access(identity, "/", permissions, shared.access)
        self.client = LocalClient(shared, vhost, access, Event(), self.harness.clock.wall_ms)

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> list[Any]:
        """Run a coroutine as far as it goes; return its result or its error, when there is one."""
        done: list[Any] = []

        async def finish() -> None:
            try:
                done.append(await coroutine)
            except Exception as error:
                done.append(error)

        self.harness.stage.spawn(finish())
        self.harness.run()
        return done

    def do(self, coroutine: Coroutine[Any, Any, T]) -> Any:
        (result,) = self.begin(coroutine)
        if isinstance(result, Exception):
            raise result
        return result


def test_a_method_is_answered_as_on_any_channel() -> None:
    node = Node()
    (told,) = node.do(node.client.call(QueueDeclare(queue="q")))
    assert told.method == QueueDeclareOk("q", 0, 0)
    with pytest.raises(NotFound, match="no queue 'nope' in vhost '/'"):
        node.do(node.client.call(QueueDeclare(queue="nope", passive=True)))


def test_a_message_of_many_frames_is_published_and_got_whole() -> None:
    node = Node(limits=Limits(frame_max=4096, heartbeat=60))
    node.do(node.client.call(QueueDeclare(queue="q")))
    body = bytes(range(256)) * 100
    assert node.do(node.client.publish("", "q", BasicProperties(content_type="x"), body)) == "routed"
    (told,) = node.do(node.client.call(BasicGet(queue="q")))
    assert isinstance(told.method, BasicGetOk)
    assert told.body == body


def test_a_persistent_message_is_published_when_it_is_stored() -> None:
    node = Node()
    node.do(node.client.call(QueueDeclare(queue="q", durable=True)))
    done = node.begin(node.client.publish("", "q", BasicProperties(delivery_mode=2), b"x"))
    assert done == []
    node.harness.commit()
    assert done == ["routed"]
    assert node.do(node.client.publish("", "nowhere", BasicProperties(), b"x")) == "unroutable"


def test_the_first_message_that_is_to_wait_is_published_when_there_is_a_schedule() -> None:
    node = Node()
    node.do(node.client.call(QueueDeclare(queue="q", durable=True)))
    properties = BasicProperties(headers=FieldTable.of({"x-delay": 1000}))
    done = node.begin(node.client.publish("", "q", properties, b"x"))
    node.harness.commit()
    assert done == ["routed"]
    assert node.do(node.client.publish("", "nowhere", properties, b"x")) == "unroutable"
    schedule = node.harness.vhost.schedule
    assert schedule is not None
    assert schedule.ready_count == 1


def test_a_message_that_is_too_large_or_does_not_fit_its_fields_is_refused() -> None:
    node = Node(limits=Limits(max_message_size=10, heartbeat=60))
    with pytest.raises(PreconditionFailed, match="larger than configured max size 10"):
        node.do(node.client.publish("", "q", BasicProperties(), b"x" * 11))
    with pytest.raises(ValueError, match="priority"):
        node.do(node.client.publish("", "q", BasicProperties(priority=300), b"x"))


def test_what_it_holds_is_known_and_goes_back_when_it_is_closed() -> None:
    node = Node()
    node.do(node.client.call(QueueDeclare(queue="q")))
    node.do(node.client.publish("", "q", BasicProperties(), b"x"))
    node.do(node.client.call(BasicGet(queue="q")))
    queue = node.harness.vhost.queues["q"]
    assert len(node.harness.broker.held_ids(queue)) == 1
    assert queue.ready_count == 0
    node.client.close()
    assert node.harness.broker.held_ids(queue) == []
    assert (queue.ready_count, queue.unacked_count) == (1, 0)
    assert node.harness.broker.local_clients == set()


def test_it_is_no_connection_of_the_user_and_counts_for_no_limit() -> None:
    node = Node()
    assert node.harness.broker.connections_of == {}
    assert node.harness.broker.open_connections == set()
    assert (node.client.user, node.client.vhost) == ("guest", "/")


def test_a_node_that_closes_it_ends_what_waits() -> None:
    node = Node()
    node.do(node.client.call(QueueDeclare(queue="q", durable=True)))
    done = node.begin(node.client.publish("", "q", BasicProperties(delivery_mode=2), b"x"))
    node.harness.broker.close_connections("vhost '/' is deleted", vhost="/")
    node.harness.run()
    (error,) = done
    assert isinstance(error, ConnectionForced)
    with pytest.raises(ConnectionForced, match="is deleted"):
        node.do(node.client.call(BasicGet(queue="q")))


def test_an_empty_queue_is_told() -> None:
    node = Node()
    node.do(node.client.call(QueueDeclare(queue="q")))
    (told,) = node.do(node.client.call(BasicGet(queue="q")))
    assert isinstance(told.method, BasicGetEmpty)
