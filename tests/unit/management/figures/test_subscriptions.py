"""Consumers of one node for the lists of subscriptions of others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from broker.codec.methods import BasicConsume, QueueDeclare
from broker.errors import CoordinationError
from broker.management.figures.merging import Elsewhere
from broker.management.figures.subscriptions import KIND, MAX_OCTETS, consumers_page, read_consumers
from broker.ports.peer_calls import FiguresPage
from broker.topology.subscription_list import ConsumersElsewhere, SeenConsumer, WantedSubscriptions
from tests.unit.topology.test_subscription_list import ADDRESS, Desk


class Others:
    """Another node, whose pages are read to their end; a node c does not answer wholly."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.pages = 0

    async def read(self, kind: str) -> Elsewhere:
        rows: list[dict[str, Any]] = []
        start = 0
        while True:
            page = await consumers_page(self.desk.list, kind, start)
            assert len(page.rows) < 2 * MAX_OCTETS
            rows += json.loads(page.rows)
            self.pages += 1
            if not page.next:
                return Elsewhere({"b": rows, "c": rows[:1]}, ("c",))
            start = page.next


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_consumers_are_told_whatever_octets_their_names_have(desk: Desk) -> None:
    peer = desk.client()
    peer.call(1, QueueDeclare(queue="qéé"))
    peer.call(1, BasicConsume(queue="qéé", consumer_tag="té"))
    [connection] = desk.harness.broker.open_connections
    [(consumer)] = connection.channels[1].consumers.values()  # type: ignore[attr-defined]
    consumer.queue.name = name = "q\udcff"
    wanted = WantedSubscriptions(after="q\udcfe")
    desk.harness.broker.vhosts["carbon"].queues[name] = consumer.queue
    assert desk.do(read_consumers(Others(desk), "carbon", wanted)) == ConsumersElsewhere(
        {"b": [SeenConsumer(name, ADDRESS, 1, "té")]}, ("c",)
    )


def test_many_consumers_come_in_pages(desk: Desk) -> None:
    name = "q" * 250
    peer = desk.client()
    peer.call(1, QueueDeclare(queue=name))
    for number in range(1100):
        peer.call(1, BasicConsume(queue=name, consumer_tag=f"{number:0200}"))
    others = Others(desk)
    told = desk.do(read_consumers(others, "carbon", WantedSubscriptions(limit=5000))).told["b"]
    assert ([each.tag for each in told], others.pages) == ([f"{number:0200}" for number in range(1100)], 2)


@pytest.mark.parametrize(
    "kind", [KIND, f"{KIND}[1]", KIND + '{"vhost": "v", "kind": null, "queue": null, "after": ""}']
)
def test_what_says_not_which_are_wanted_is_refused(desk: Desk, kind: str) -> None:
    with pytest.raises(CoordinationError, match="there are no figures of 'subscriptions"):
        desk.do(consumers_page(desk.list, kind, 0))


def test_too_many_are_refused(desk: Desk) -> None:
    given = json.dumps({"vhost": "carbon", "kind": None, "queue": None, "after": "", "limit": 10_001})
    with pytest.raises(CoordinationError, match="as many as 1 to 10000"):
        desk.do(consumers_page(desk.list, KIND + given, 0))


def test_of_a_virtual_host_that_is_not_there_there_are_none(desk: Desk) -> None:
    given = json.dumps({"vhost": "none", "kind": None, "queue": None, "after": "", "limit": 1})
    assert desk.do(consumers_page(desk.list, KIND + given, 0)) == FiguresPage(b"[]")
