"""Messages move back to where they died, or elsewhere, and again from there (docs/redriving.md)."""

from __future__ import annotations

from typing import Any, Final

from broker.amqp.purposes import publishing, using
from broker.auth.access import Operation, Permission
from broker.errors import AccessRefused, AdministrationError
from broker.management.http.access import Needs, vhost_of
from broker.management.http.acting import REFUSED, access_of
from broker.management.http.call import Call, NotAuthorised, NotThere
from broker.management.http.forms import flag
from broker.management.http.node_view import ManagedNode
from broker.management.http.queues import queue_of
from broker.management.http.routing import ApiRoute

_WISHES: Final = ("where", "target", "limit", "rate", "dry_run")


async def _require_access(node: ManagedNode, call: Call, queue: str) -> None:
    vhost = vhost_of(node, call)
    access = await access_of(node, call, vhost)
    try:
        access.require(Permission.READ, "queue", queue, using(access, Operation.CONSUME, vhost, queue))
        access.require(Permission.WRITE, "exchange", "", publishing(access, "", ""))
    except AccessRefused as error:
        raise NotAuthorised(REFUSED, error.reply_text) from None


async def redrive_queue(node: ManagedNode, call: Call) -> Any:
    vhost = vhost_of(node, call)
    queue = queue_of(vhost, call)
    await _require_access(node, call, queue.name)
    given = await call.json_object()
    wish = {name: given[name] for name in _WISHES if given.get(name) is not None}
    wish["dry_run"] = flag(given, "dry_run")
    return await node.commands["redrive_queue"]({**wish, "vhost": vhost.name, "queue": queue.name})


async def _operation(node: ManagedNode, call: Call, command: str) -> Any:
    """Do something about an operation of this virtual host, if the caller may move messages of its queue."""
    text = call.names["operation"]
    number = {"id": int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else 0}
    try:
        known = await node.commands["show_redrive"](number)
    except AdministrationError as error:
        raise NotThere(f"{error}: ask the node that has begun it, this is {node.node_id}") from None
    if known["vhost"] != vhost_of(node, call).name:
        raise NotThere(f"redrive {text} is one of another virtual host")
    await _require_access(node, call, known["queue"])
    return known if command == "show_redrive" else await node.commands[command](number)


async def show_redrive(node: ManagedNode, call: Call) -> Any:
    return await _operation(node, call, "show_redrive")


async def undo_redrive(node: ManagedNode, call: Call) -> Any:
    return await _operation(node, call, "undo_redrive")


_OPERATION: Final = "/broker/redrives/{vhost}/{operation}"

ROUTES = (
    ApiRoute(
        "POST", "/broker/queues/{vhost}/{queue}/redrive", Needs.VHOST, redrive_queue, "Move messages back", keys=_WISHES
    ),
    ApiRoute("GET", _OPERATION, Needs.VHOST, show_redrive, "Show how far a redrive is"),
    ApiRoute("POST", f"{_OPERATION}/undo", Needs.VHOST, undo_redrive, "Take a redrive back"),
)
