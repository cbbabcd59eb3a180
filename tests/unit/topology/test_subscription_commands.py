"""The administrator's commands over subscriptions, as the control socket gives them on."""

from __future__ import annotations

from typing import Any

import pytest

from broker.codec.methods import BasicCancel
from broker.errors import AdministrationError
from broker.topology.subscription_commands import SubscriptionCommands
from tests.unit.topology.test_subscription_list import ADDRESS, Desk, subscribe


@pytest.fixture
def desk() -> Desk:
    return Desk()


def command(desk: Desk, called: str, **arguments: Any) -> Any:
    return desk.do(SubscriptionCommands(desk.list).by_name[called](arguments))  # type: ignore[arg-type]


def test_commands_do_it_with_values_of_json(desk: Desk) -> None:
    peer = desk.client("consumer_cancel_notify")
    subscribe(peer, "carbon:s", "news", durable=True)
    found = command(desk, "list_subscriptions", kind="durable", queue="carbon:s", after="a", limit=5)
    [row] = found["subscriptions"]
    assert (row["id"], row["destination"], row["is_active"]) == (f"carbon:s@n1/{ADDRESS}/1/1", "news", True)
    assert command(desk, "close_subscription", id=row["id"]) is None
    assert peer.received() == [(1, BasicCancel("1", True))]
    assert command(desk, "delete_subscription", vhost="carbon", name="carbon:s") == {"messages": 0}
    assert command(desk, "list_subscriptions") == {"subscriptions": [], "silent": []}


def test_a_kind_that_there_is_not_is_refused(desk: Desk) -> None:
    with pytest.raises(AdministrationError, match="'kind' is one of queue, topic, durable"):
        command(desk, "list_subscriptions", kind="other")
