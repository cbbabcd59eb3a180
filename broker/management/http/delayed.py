"""Delayed messages, below `/api/broker/delayed`: what waits, and cancelling and moving it (docs/delayed.md)."""

from __future__ import annotations

from typing import Any, Final

from broker.amqp.purposes import publishing, using
from broker.auth.access import Operation, Permission
from broker.codec.expiration import LATEST
from broker.management.http.access import Needs, vhost_of, visible_here
from broker.management.http.acting import access_of
from broker.management.http.browsing import number
from broker.management.http.call import Call
from broker.management.http.listing import QUERY, listed
from broker.management.http.node_view import ManagedNode
from broker.management.http.routing import ApiRoute
from broker.ports.names import SCHEDULE

_MOST_LISTED: Final = 1000
_TEXTS: Final = ("exchange", "routing_key", "message_id")
_CHOICE: Final = ("ids", "message_id")
_TIMES: Final = ("deliver_at", "delay")


async def count_delayed(node: ManagedNode, call: Call) -> Any:
    """Return how many messages wait in each virtual host that the user may see."""
    seen = {vhost.name for vhost in await visible_here(node, call)}
    rows = [row for row in await node.commands["count_delayed"]({}) if row["vhost"] in seen]
    return await listed(node, call, rows, lambda row: row, name_of=lambda row: str(row["vhost"]))


async def list_delayed(node: ManagedNode, call: Call) -> Any:
    vhost = vhost_of(node, call)
    access = await access_of(node, call, vhost)
    access.require(Permission.READ, "queue", SCHEDULE, using(access, Operation.CONSUME, vhost, SCHEDULE))
    arguments: dict[str, Any] = {
        "vhost": vhost.name,
        "limit": number(call.query, "limit", 100, _MOST_LISTED),
        "until": number(call.query, "until", LATEST, LATEST),
        **{name: call.query[name] for name in (*_TEXTS, "after") if call.query.get(name) is not None},
    }
    return await node.commands["list_delayed"](arguments)


async def _arguments(node: ManagedNode, call: Call) -> dict[str, Any]:
    """Return what the body says, if the user may publish to the schedule: who may, decides what waits in it."""
    vhost = vhost_of(node, call)
    access = await access_of(node, call, vhost)
    access.require(Permission.WRITE, "exchange", SCHEDULE, publishing(access, SCHEDULE, ""))
    given = await call.json_object()
    return {**given, "vhost": vhost.name}


async def cancel_delayed(node: ManagedNode, call: Call) -> Any:
    return await node.commands["cancel_delayed"](await _arguments(node, call))


async def move_delayed(node: ManagedNode, call: Call) -> Any:
    return await node.commands["move_delayed"](await _arguments(node, call))


_PATH: Final = "/broker/delayed/{vhost}"
_QUERY: Final = ("limit", "after", "until", *_TEXTS)

ROUTES = (
    ApiRoute("GET", "/broker/delayed", Needs.LOGIN, count_delayed, "List how many messages wait for their time", QUERY),
    ApiRoute("GET", _PATH, Needs.VHOST, list_delayed, "Show delayed messages, what is due first first", _QUERY),
    ApiRoute("POST", f"{_PATH}/cancel", Needs.VHOST, cancel_delayed, "Cancel delayed messages", keys=_CHOICE),
    ApiRoute(
        "POST",
        f"{_PATH}/move",
        Needs.VHOST,
        move_delayed,
        "Let delayed messages go on at another time",
        keys=(*_CHOICE, *_TIMES),
    ),
)
