"""What operators see of a whole cluster by asking one node."""

from __future__ import annotations

import base64
import json
import os
import signal
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.cluster.conftest import ChannelOf, NewCluster
from tests.support.databases import DatabaseServer
from tests.support.waiting import wait_until


def ask(port: int, path: str) -> tuple[Any, str]:
    """Return the answer to a GET of `/api` and `path`, and the nodes that are missing in it."""
    login = base64.b64encode(b"guest:guest").decode()
    request = Request(f"http://127.0.0.1:{port}/api{path}", headers={"Authorization": f"Basic {login}"})
    with urlopen(request, timeout=10) as answer:
        return json.load(answer), answer.headers.get("X-Silent-Nodes", "")


@pytest.mark.slow
def test_one_node_tells_of_all_of_them(
    mariadb: DatabaseServer, new_cluster: NewCluster, channel_of: ChannelOf, name: str
) -> None:
    cluster = new_cluster(mariadb, 2, has_console=True)
    cluster.start()
    port = cluster.http_port
    first, second = (channel_of(node) for node in cluster.nodes)
    first.queue_declare(name)
    for _ in range(3):
        first.basic_publish("", name, b"here")
        second.basic_publish("", name, b"there")
    wait_until(
        lambda: ask(port, f"/queues/%2F/{name}")[0]["message_stats"]["publish"] == 6, 20, "all publishes", cluster.nodes
    )
    assert ask(port, "/overview")[0]["object_totals"]["connections"] == 2
    assert len({row["node"] for row in ask(port, "/connections")[0]}) == 2
    assert len(ask(port, "/channels")[0]) == 2
    (queue,) = ask(port + 1, "/queues")[0]
    assert (queue["messages"], queue["message_stats"]["publish"]) == (6, 6)

    second.basic_consume(name, lambda *_: None, consumer_tag="far")
    [subscription] = ask(port, "/broker/subscriptions/%2F")[0]
    there = cluster.nodes[1].node_id
    [connection] = [row for row in ask(port, "/connections")[0] if row["node"] == there]
    address = f"{connection['peer_host']}:{connection['peer_port']}"
    assert (subscription["node"], subscription["origin"]) == (there, address)
    assert subscription["id"] == f"{name}@{there}/{address}/1/far"

    os.kill(cluster.nodes[1].pid, signal.SIGSTOP)
    try:
        rows, silent = ask(port, "/connections")
        subscriptions, silent_too = ask(port, "/broker/subscriptions/%2F")
    finally:
        os.kill(cluster.nodes[1].pid, signal.SIGCONT)
    assert ({row["node"] for row in rows}, silent) == ({cluster.nodes[0].node_id}, there)
    assert ([row["id"] for row in subscriptions], silent_too) == ([f"{name}@{there}"], there)
