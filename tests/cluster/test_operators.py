"""What operators do, asking one node, with clients and messages of another."""

from __future__ import annotations

import base64
import json
import os
import signal
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ConnectionClosedByBroker

from benchmarks.nodes.configuration import CALM
from tests.cluster.clients import DEADLINE, consume, numbered, process_until, publish
from tests.cluster.conftest import ChannelOf, NewCluster
from tests.support.cluster import ClusterOfProcesses
from tests.support.databases import DatabaseServer
from tests.support.waiting import wait_until


def ask(port: int, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
    """Return status and body of what a node's HTTP API answers."""
    login = {"Authorization": f"Basic {base64.b64encode(b'guest:guest').decode()}"}
    octets = None if body is None else json.dumps(body).encode()
    request = Request(f"http://127.0.0.1:{port}/api{path}", octets, {**login, **headers}, method=method)
    try:
        with urlopen(request, timeout=20) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if text else None
    except HTTPError as error:
        return error.code, json.loads(error.read())


def connection_of(port: int, node_id: str) -> str:
    """Return the path of the one connection of a node."""
    (row,) = (row for row in ask(port, "GET", "/connections")[1] if row["node"] == node_id)
    return f"/connections/{quote(row['name'], safe='')}"


def end_of(channel: BlockingChannel) -> str:
    """Wait until the broker closes the connection; return why."""
    with pytest.raises(ConnectionClosedByBroker) as closed:
        process_until(channel, lambda: False, DEADLINE, lambda: "the connection is open")
    return str(closed.value.reply_text)


@pytest.mark.slow
def test_clients_of_another_node_are_shown_and_closed_and_a_node_that_hangs_is_named(
    mariadb: DatabaseServer, new_cluster: NewCluster, channel_of: ChannelOf, name: str
) -> None:
    cluster: ClusterOfProcesses = new_cluster(mariadb, 2, rhythm=CALM, has_console=True)
    cluster.start(90.0)
    port, there = cluster.http_port, cluster[1].node_id
    channel = channel_of(cluster[1])
    channel.queue_declare(name)
    taking = consume(channel, name)
    path = connection_of(port, there)
    assert ask(port, "GET", path)[1]["node"] == there
    assert [row["number"] for row in ask(port, "GET", f"{path}/channels")[1]] == [1]
    assert [row["consumer_tag"] for row in ask(port, "GET", f"/queues/%2F/{name}")[1]["consumer_details"]] == [
        taking.tag
    ]
    (subscription,) = ask(port, "GET", "/broker/subscriptions/%2F")[1]
    assert ask(port, "DELETE", f"/broker/subscriptions/%2F/{quote(subscription['id'], safe='')}")[0] == 204
    process_until(channel, lambda: bool(taking.cancelled))

    assert ask(port, "DELETE", path, **{"X-Reason": "maintenance"})[0] == 204
    assert end_of(channel) == "CONNECTION_FORCED - maintenance"
    channels = [channel_of(node) for node in cluster.nodes]
    assert ask(port, "DELETE", "/connections/username/guest")[0] == 204
    for each in channels:
        assert end_of(each).startswith("CONNECTION_FORCED")

    channel_of(cluster[1])
    path = connection_of(port, there)
    os.kill(cluster[1].pid, signal.SIGSTOP)
    try:
        hung = [ask(port, method, path) for method in ("GET", "DELETE")]
        hung.append(ask(port, "DELETE", "/connections/username/guest"))
    finally:
        os.kill(cluster[1].pid, signal.SIGCONT)
    for status, told in hung:
        assert (status, told["reason"].startswith(f"node {there} does not answer, and ")) == (503, True), told


CHANNEL = "deadletterchannel"
LETTERS = "/broker/dead-letters/carbon"


def let_die(channel: BlockingChannel, queue: str, bodies: list[bytes]) -> None:
    """Let messages be rejected: of these clients they go to the dead letter channel."""
    publish(channel, queue, bodies)
    for _ in bodies:
        method, _, _ = channel.basic_get(queue)
        assert method is not None
        channel.basic_reject(method.delivery_tag, requeue=False)


def done(port: int, action: str, **wish: Any) -> dict[str, Any]:
    """Return a job on dead letters when it has ended."""
    status, job = ask(port, "POST", f"{LETTERS}/jobs", {"action": action, **wish})
    assert status == 202, job
    found: list[dict[str, Any]] = []

    def has_ended() -> bool:
        found.append(ask(port, "GET", f"{LETTERS}/jobs/{job['id']}")[1])
        return bool(found[-1]["state"] != "running")

    wait_until(has_ended, DEADLINE, "the job ends")
    return found[-1]


@pytest.mark.slow
def test_a_job_moves_the_dead_letters_of_all_nodes_and_says_what_is_left_where(
    mariadb: DatabaseServer, new_cluster: NewCluster, channel_of: ChannelOf, name: str
) -> None:
    cluster: ClusterOfProcesses = new_cluster(mariadb, 2, rhythm=CALM, has_console=True)
    cluster.start(90.0)
    port, there = cluster.http_port, cluster[1].node_id
    channels = [channel_of(node, "carbon") for node in cluster.nodes]
    for number, channel in enumerate(channels):
        channel.confirm_delivery()
        channel.queue_declare(f"{name}.{number}", durable=True)
        let_die(channel, f"{name}.{number}", numbered(40, 40 * number))
    wait_until(lambda: len(ask(port, "GET", LETTERS)[1]) == 80, DEADLINE, "all are dead letters", cluster.nodes)
    second = channels[1]
    second.basic_qos(prefetch_count=3)
    holder = consume(second, CHANNEL, acks=False)
    holder.wait(3)

    job = done(port, "restore", all=True)
    assert (job["state"], job["done"], job["left"]) == ("done", 77, 3), job
    assert {each["reason"] for each in job["reasons"]} == {"another node has it"}
    assert (job["elsewhere"], job["silent"]) == ([{"node": there, "ready": 0, "unacknowledged": 3}], [])
    counts = [ask(port, "GET", f"/queues/carbon/{name}.{number}")[1]["messages"] for number in (0, 1)]
    assert sum(counts) == 77

    holder.cancel()
    second.basic_nack(holder.taken[-1].tag, multiple=True, requeue=True)
    path = f"/queues/carbon/{CHANNEL}"
    wait_until(lambda: ask(port, "GET", path)[1]["messages_ready"] == 3, DEADLINE, "they are ready", cluster.nodes)
    ids = [row["id"] for row in ask(port, "GET", LETTERS)[1]]
    job = done(port, "delete", ids=ids)
    assert (job["done"], job["left"], job["elsewhere"]) == (3, 0, [])
    assert ask(port, "GET", LETTERS)[1] == []
