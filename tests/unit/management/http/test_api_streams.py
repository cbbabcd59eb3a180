"""Streams over HTTP: what they have, replaying into a queue, places of consumers (docs/streams.md)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from broker.codec import methods as amqp
from broker.codec.field_table import FieldTable
from broker.codec.properties import BasicProperties
from tests.support.harness import Client
from tests.support.http_api import HttpNode

SECOND_MS = 1000


@pytest.fixture
def node() -> HttpNode:
    return HttpNode()


@pytest.fixture
def peer(node: HttpNode) -> Client:
    """A client, a stream with the messages 0 to 9, one in each second, and an empty queue."""
    harness = node.harness
    peer = harness.peer()
    peer.call(1, amqp.QueueDeclare(queue="log", durable=True, arguments=FieldTable.of({"x-queue-type": "stream"})))
    peer.call(1, amqp.QueueDeclare(queue="q", durable=True))
    for number in range(10):
        harness.clock.advance(1)
        harness.parts.ids.advance(harness.clock.wall_ms())
        headers = FieldTable.of({"x-stream-filter-value": "odd" if number % 2 else "even"})
        peer.publish("log", b"%d" % number, properties=BasicProperties(headers=headers, delivery_mode=2))
        harness.commit()
    peer.received()
    return peer


def got(peer: Client, queue: str = "q") -> list[bytes]:
    peer.contents()
    while isinstance(peer.call(1, amqp.BasicGet(queue=queue, no_ack=True)), amqp.BasicGetOk):
        pass
    return peer.bodies()


def replay(node: HttpNode, **wish: Any) -> Any:
    wish["from"] = wish.pop("start", None)
    body = {"destination": "q", **{name: each for name, each in wish.items() if each is not None}}
    return json.loads(node.ask("POST", "/api/broker/streams/%2F/log/replay", body).body)


def test_a_stream_tells_its_offsets_and_places(node: HttpNode, peer: Client) -> None:
    kept = FieldTable.of({"x-stream-offset": "first", "x-stream-automatic-offset-tracking": True})
    peer.call(1, amqp.BasicQos(0, 4, False))
    peer.send(1, amqp.BasicConsume(queue="log", consumer_tag="reader", arguments=kept))
    peer.send(1, amqp.BasicAck(3, True))
    found = node.get("/broker/streams/%2F/log")
    assert (found["first_offset"], found["next_offset"], found["messages"]) == (0, 10, 10)
    assert found["places"] == [{"consumer": "reader", "next_offset": 3}]


def test_a_place_is_forgotten_once(node: HttpNode, peer: Client) -> None:
    node.harness.parts.stream_reader.keep(node.harness.vhost.queues["log"], "reader", 3)  # type: ignore[arg-type]
    answers = [node.ask("DELETE", "/api/broker/streams/%2F/log/places/reader").status for _ in range(2)]
    assert answers == [204, 404]
    assert node.detail("DELETE", "/broker/streams/%2F/log/places/readerx") == (
        "stream 'log' in vhost '/' keeps no place of a consumer 'readerx'"
    )


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ({}, list(range(10))),
        ({"start": 3, "to": 6}, [3, 4, 5]),
        ({"start": "7"}, [7, 8, 9]),
        ({"start": "3s"}, [7, 8, 9]),
        ({"start": "5s", "to": "3s"}, [5, 6]),
        ({"to": 6, "filter": "odd"}, [1, 3, 5]),
        ({"start": "2031-01-01T00:00:00Z"}, []),
        ({"start": 99}, []),
    ],
)
def test_a_part_of_a_stream_is_put_into_a_queue_in_its_order(
    node: HttpNode, peer: Client, wish: dict[str, Any], expected: list[int]
) -> None:
    node.harness.clock.advance(0.5)
    assert replay(node, **wish) == {"messages": len(expected), "next": None}
    assert got(peer) == [b"%d" % number for number in expected]


def test_a_replay_that_is_bounded_tells_where_to_go_on(node: HttpNode, peer: Client) -> None:
    assert replay(node, start=2, limit=3) == {"messages": 3, "next": 5}
    assert replay(node, start=5, limit=3, filter="odd") == {"messages": 3, "next": 10}
    assert got(peer) == [b"2", b"3", b"4", b"5", b"7", b"9"]


def test_copies_are_stored_and_keep_what_they_were(node: HttpNode, peer: Client) -> None:
    replay(node, start=4, to=5)
    peer.contents()
    peer.call(1, amqp.BasicGet(queue="q"))
    (content,) = peer.contents()
    assert isinstance(content.method, amqp.BasicGetOk)
    assert (content.method.routing_key, content.properties.delivery_mode) == ("log", 2)
    assert content.properties.headers is not None
    assert content.properties.headers.values == {"x-stream-filter-value": "even", "x-stream-offset": 4}


def test_copies_of_transient_messages_are_stored_too(node: HttpNode, peer: Client) -> None:
    peer.publish("log", b"transient")
    node.harness.commit()
    before = len(node.harness.store.state.rows)
    assert replay(node, start=9)["messages"] == 2
    assert len(node.harness.store.state.rows) == before + 2
    peer.contents()
    for _ in range(2):
        peer.call(1, amqp.BasicGet(queue="q"))
    assert [content.properties.delivery_mode for content in peer.contents()] == [2, None]


def test_a_stream_is_replayed_into_another_one_but_not_into_itself(node: HttpNode, peer: Client) -> None:
    table = FieldTable.of({"x-queue-type": "stream"})
    peer.call(1, amqp.QueueDeclare(queue="copy", durable=True, arguments=table))
    assert replay(node, destination="copy")["messages"] == 10
    assert node.get("/broker/streams/%2F/copy")["messages"] == 10
    answer = node.ask("POST", "/api/broker/streams/%2F/log/replay", {"destination": "log"})
    assert answer.status == 400


def test_a_queue_that_takes_no_more_ends_a_replay(node: HttpNode, peer: Client) -> None:
    full = FieldTable.of({"x-max-length": 3, "x-overflow": "reject-publish"})
    peer.call(1, amqp.QueueDeclare(queue="small", durable=True, arguments=full))
    answer = node.ask("POST", "/api/broker/streams/%2F/log/replay", {"destination": "small"})
    assert answer.status == 400
    assert "takes no more" in json.loads(answer.body)["reason"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"destination": "nowhere"}, 400),
        ({"destination": "q", "from": "soon"}, 400),
        ({"destination": "q", "limit": 0}, 400),
        ({"destination": "q", "from": 1 << 63}, 400),
        ({"destination": "q", "from": str(1 << 63)}, 400),
        ({"destination": "q", "to": "9" * 30}, 400),
        ({"destination": "q", "since": 1}, 400),
    ],
)
def test_what_makes_no_sense_is_refused(node: HttpNode, peer: Client, body: dict[str, Any], status: int) -> None:
    assert node.ask("POST", "/api/broker/streams/%2F/log/replay", body).status == status


def test_a_queue_that_is_no_stream_has_none_of_that(node: HttpNode, peer: Client) -> None:
    assert node.ask("GET", "/api/broker/streams/%2F/q").status == 400
    assert node.ask("GET", "/api/broker/streams/%2F/nowhere").status == 404


def test_figures_of_queues_tell_how_long_a_stream_is(node: HttpNode, peer: Client) -> None:
    found = node.get("/queues/%2F/log")
    assert (found["type"], found["messages"], found["messages_ready"]) == ("stream", 10, 10)


def test_messages_of_a_stream_are_not_got_or_purged_over_http(node: HttpNode, peer: Client) -> None:
    wish = {"count": 1, "ackmode": "ack_requeue_true", "encoding": "auto"}
    assert node.ask("POST", "/api/queues/%2F/log/get", wish).status == 400
    assert node.ask("DELETE", "/api/queues/%2F/log/contents").status == 400


def test_the_messages_of_a_stream_are_not_listed_as_if_there_were_none(node: HttpNode, peer: Client) -> None:
    status, _, reason = node.refusal("GET", "/broker/messages/%2F/log")
    assert (status, reason) == (
        400,
        "queue 'log' is a stream: a consumer, or brokerctl sub log --offset first reads it",
    )


@pytest.mark.parametrize(
    ("deleted", "reason"),
    [
        ("log", "the stream 'log' has been deleted meanwhile: 0 of its messages are in 'q'"),
        ("q", "queue 'q' has been deleted meanwhile, with 0 messages of 'log': say another one"),
    ],
)
def test_a_replay_does_not_end_as_if_whole_when_one_of_both_is_deleted(
    node: HttpNode, peer: Client, deleted: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = node.harness.parts.stream_replays._store
    read = store.read_stream

    async def read_late(*wanted: Any) -> Any:
        page = await read(*wanted)
        peer.send(1, amqp.QueueDelete(queue=deleted))
        return page

    monkeypatch.setattr(store, "read_stream", read_late)
    assert node.refusal("POST", "/broker/streams/%2F/log/replay", {"destination": "q"})[::2] == (400, reason)
