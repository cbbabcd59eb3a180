"""Operators move, find and alter what lies on several nodes: redrives, undo, searches (docs/redriving.md)."""

from __future__ import annotations

import base64
import json
import time
from collections import Counter
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from tests.cluster.clients import numbered, publish
from tests.cluster.conftest import ChannelOf, NewCluster
from tests.support.waiting import wait_until

DEADLINE = 60.0


def ask(port: int, method: str, path: str, **given: Any) -> Any:
    """Return what a node's HTTP API answers."""
    login = {"Authorization": f"Basic {base64.b64encode(b'guest:guest').decode()}", "Content-Type": "application/json"}
    body = json.dumps(given).encode() if method == "POST" else None
    request = Request(f"http://127.0.0.1:{port}/api/broker{path}", body, login, method=method)
    with urlopen(request, timeout=20) as answer:
        return json.load(answer)


def rest(channel: BlockingChannel, queue: str) -> list[bytes]:
    """Get what comes, from whatever node."""
    bodies = []
    while (answer := channel.basic_get(queue, auto_ack=True))[0] is not None:
        assert answer[2] is not None
        bodies.append(answer[2])
    return bodies


def redrive(port: int, queue: str, target: str, **wish: Any) -> int:
    number = ask(port, "POST", f"/queues/%2F/{queue}/redrive", target=target, **wish)["id"]
    assert isinstance(number, int)
    return number


def state(port: int, number: int) -> dict[str, Any]:
    told: dict[str, Any] = ask(port, "GET", f"/redrives/%2F/{number}")
    return told


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["mariadb", "postgresql"])
def test_a_redrive_moves_what_other_nodes_have_and_takes_it_back(
    request: pytest.FixtureRequest, new_cluster: NewCluster, engine: str, channel_of: ChannelOf, name: str
) -> None:
    cluster = new_cluster(request.getfixturevalue(engine), 2, has_console=True)
    cluster.start()
    port = cluster.http_port
    channels = [channel_of(node) for node in cluster.nodes]
    for channel in channels:
        channel.confirm_delivery()
    for queue in (f"{name}.dead", f"{name}.work"):
        channels[0].queue_declare(queue, durable=True)
    publish(channels[0], f"{name}.dead", numbered(50))
    publish(channels[1], f"{name}.dead", numbered(50, 50))
    number = redrive(port, f"{name}.dead", f"{name}.work")
    wait_until(lambda: state(port, number)["state"] == "done", DEADLINE, "the redrive ends", cluster.nodes)
    assert (state(port, number)["moved"], state(port, number)["left"]) == (100, 0)
    ask(port, "POST", f"/redrives/%2F/{number}/undo")
    wait_until(lambda: state(port, number)["state"] == "undone", DEADLINE, "the undo ends", cluster.nodes)
    assert (state(port, number)["restored"], state(port, number)["not_restored"]) == (100, 0)
    assert rest(channels[1], f"{name}.work") == []
    assert sorted(map(int, rest(channels[1], f"{name}.dead"))) == list(range(100))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["mariadb", "postgresql"])
def test_a_redrive_loses_and_doubles_nothing_when_its_node_is_killed(
    request: pytest.FixtureRequest, new_cluster: NewCluster, engine: str, channel_of: ChannelOf, name: str
) -> None:
    cluster = new_cluster(request.getfixturevalue(engine), 2, has_console=True)
    cluster.start()
    channels = [channel_of(node) for node in cluster.nodes]
    for channel in channels:
        channel.confirm_delivery()
    dead, work = f"{name}.dead", f"{name}.work"
    for queue in (dead, work):
        channels[0].queue_declare(queue, durable=True)
    publish(channels[0], dead, numbered(1000))
    publish(channels[1], dead, numbered(1000, 1000))
    number = redrive(cluster.http_port, dead, work, rate=1000)
    wait_until(lambda: state(cluster.http_port, number)["moved"] > 300, DEADLINE, "some are moved", cluster.nodes)
    cluster[0].kill9()
    there: Counter[bytes] = Counter()
    end = time.monotonic() + DEADLINE
    while there.total() < 2000 and time.monotonic() < end:
        there.update([*rest(channels[1], dead), *rest(channels[1], work)])
    cluster[0].start()
    for channel in (channels[1], channel_of(cluster[0])):
        there.update([*rest(channel, dead), *rest(channel, work)])
    assert there == Counter(numbered(2000))


@pytest.mark.slow
def test_a_message_is_found_and_a_queue_altered_from_either_node(
    request: pytest.FixtureRequest, new_cluster: NewCluster, channel_of: ChannelOf, name: str
) -> None:
    cluster = new_cluster(request.getfixturevalue("mariadb"), 2, has_console=True)
    cluster.start()
    first = channel_of(cluster[0])
    first.confirm_delivery()
    first.queue_declare(name, durable=True, arguments={"x-max-priority": 2})
    for priority in (1, 2):
        properties = pika.BasicProperties(delivery_mode=2, message_id=f"{name}{priority}", priority=priority)
        first.basic_publish("", name, b"stored", properties)
    first.basic_publish("", name, b"transient", pika.BasicProperties(message_id=f"{name}t"))
    for port in (cluster.http_port, cluster.http_port + 1):
        for which, is_persistent in (("1", True), ("2", True), ("t", False)):
            (found,) = ask(port, "GET", f"/find/%2F?message_id={quote(name)}{which}")["items"]
            assert (found["queue"], found["state"], found["persistent"]) == (name, "ready", is_persistent)
    method, _, _ = first.basic_get(name)
    assert method is not None
    (held,) = ask(cluster.http_port + 1, "GET", f"/find/%2F?message_id={quote(name)}2")["items"]
    assert (held["state"], held["node"]) == ("unacked", cluster[0].node_id)
