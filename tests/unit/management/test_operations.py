"""What operators of one node have another do with its clients."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from broker.codec.methods import ConnectionClose
from broker.errors import CoordinationError
from broker.management.operated import CLOSE_CONNECTIONS, CLOSE_SUBSCRIPTION
from broker.management.operations import Operations
from tests.support.http_api import HttpNode


def operations(node: HttpNode, *ids: str) -> Operations:
    async def close_subscription(vhost: str, subscription_id: str) -> bool:
        return subscription_id in ids

    return Operations(node.node.view, close_subscription)


def carry_out(operations: Operations, operation: str, /, **given: Any) -> Any:
    return json.loads(asyncio.run(operations.carry_out(operation, json.dumps(given).encode())))


def test_connections_are_closed_by_name_or_by_user_and_the_client_is_told_why() -> None:
    node = HttpNode()
    peer, other = node.harness.peer(), node.harness.peer()
    name = node.node.connections[0].handshake.peer.connection_name
    told = {"reason": "it is\nlate", "by": "ann"}
    known = operations(node)
    assert carry_out(known, CLOSE_CONNECTIONS, user="nobody", **told) == {"closed": 0}
    assert carry_out(known, CLOSE_CONNECTIONS, name="nothing", **told) == {"closed": 0}
    assert carry_out(known, CLOSE_CONNECTIONS, name=name, **told)["closed"] > 0
    node.harness.run()
    closes = [method for _, method in peer.received() if isinstance(method, ConnectionClose)]
    assert [(each.reply_code, each.reply_text) for each in closes] == [(320, "CONNECTION_FORCED - it islate")]
    carry_out(known, CLOSE_CONNECTIONS, user="guest", **told)
    node.harness.run()
    assert [type(method) for _, method in other.received()] == [ConnectionClose]


def test_a_subscription_is_closed_where_it_is() -> None:
    known = operations(HttpNode(), "q@a/1/2/t")
    assert carry_out(known, CLOSE_SUBSCRIPTION, vhost="/", id="q@a/1/2/t") == {"closed": True}
    assert carry_out(known, CLOSE_SUBSCRIPTION, vhost="/", id="q@a/1/2/u") == {"closed": False}


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("stop", b"{}", "there is no operation 'stop'"),
        (CLOSE_CONNECTIONS, b"{}", "an argument is missing or wrong: 'reason'"),
        (CLOSE_CONNECTIONS, b"[]", "an argument is missing or wrong"),
        (CLOSE_CONNECTIONS, b"\xff", "an argument is missing or wrong"),
    ],
)
def test_what_a_node_does_not_know_it_does_not_do(name: str, given: bytes, told: str) -> None:
    with pytest.raises(CoordinationError, match=told):
        asyncio.run(operations(HttpNode()).carry_out(name, given))
