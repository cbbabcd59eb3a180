"""Streams, below `/api/broker/streams`: what they have, where consumers are, and replaying (docs/streams.md)."""

from __future__ import annotations

from typing import Any, Final

from broker.amqp.purposes import using
from broker.auth.access import Access, Operation, Permission
from broker.management.http.access import Needs, vhost_of
from broker.management.http.acting import access_of
from broker.management.http.call import NO_CONTENT, BadRequest, Call, NotThere, empty
from broker.management.http.forms import required
from broker.management.http.node_view import ManagedNode
from broker.management.http.queues import queue_of
from broker.management.http.routing import ApiRoute

_CHOICE: Final = ("destination", "from", "to", "filter", "limit")


async def _stream(node: ManagedNode, call: Call) -> tuple[dict[str, Any], Access]:
    """Return the names of the stream that the path means, if the user may read it, and what else the user may do."""
    vhost = vhost_of(node, call)
    queue = queue_of(vhost, call)
    access = await access_of(node, call, vhost)
    access.require(Permission.READ, "queue", queue.name, using(access, Operation.CONSUME, vhost, queue.name))
    if not queue.is_stream:
        raise BadRequest(f"queue '{queue.name}' is no stream")
    return {"vhost": vhost.name, "stream": queue.name}, access


async def show_stream(node: ManagedNode, call: Call) -> Any:
    names, _ = await _stream(node, call)
    return await node.commands["show_stream"](names)


async def replay_stream(node: ManagedNode, call: Call) -> Any:
    """Put copies into a queue, for a user who may publish to it."""
    names, access = await _stream(node, call)
    given = await call.json_object()
    access.require_publish("", str(required(given, "destination")))
    return await node.commands["replay_stream"]({**given, **names})


async def forget_place(node: ManagedNode, call: Call) -> Any:
    names, _ = await _stream(node, call)
    consumer = call.names["consumer"]
    done = await node.commands["forget_stream_place"]({**names, "consumer": consumer})
    if not done["forgotten"]:
        stream = f"stream '{names['stream']}' in vhost '{names['vhost']}'"
        raise NotThere(f"{stream} keeps no place of a consumer '{consumer}'")
    return empty(NO_CONTENT)


_PATH: Final = "/broker/streams/{vhost}/{queue}"

ROUTES = (
    ApiRoute("GET", _PATH, Needs.VHOST, show_stream, "Show the offsets of a stream and the places of consumers"),
    ApiRoute(
        "POST",
        f"{_PATH}/replay",
        Needs.VHOST,
        replay_stream,
        "Put copies of a stream's messages into a queue",
        keys=_CHOICE,
    ),
    ApiRoute("DELETE", f"{_PATH}/places/{{consumer}}", Needs.VHOST, forget_place, "Forget the place of a consumer"),
)
