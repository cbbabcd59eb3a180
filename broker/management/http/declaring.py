"""Exchanges, queues and bindings are made and deleted, as a client of AMQP would do it."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from broker.codec import methods as amqp
from broker.codec.field_table import FieldTable
from broker.management.http.access import Needs, vhost_of
from broker.management.http.acting import act, table_of
from broker.management.http.call import CREATED, NO_CONTENT, BadRequest, Call, HttpRefusal, created, empty
from broker.management.http.exchanges import binding_of, exchange_of, named, properties_key
from broker.management.http.forms import boolean, json_object, required
from broker.management.http.node_view import ManagedNode
from broker.management.http.queues import queue_of
from broker.management.http.routing import ApiRoute
from broker.topology.binding import Binding


def _known_vhost(node: ManagedNode, call: Call) -> None:
    if call.names["vhost"] not in node.vhosts:
        name = call.names["vhost"]
        raise HttpRefusal(404, "not_found", "vhost_not_found", detail=f"there is no virtual host '{name}'")


async def put_queue(node: ManagedNode, call: Call) -> Any:
    _known_vhost(node, call)
    given, name = await call.json_object(), call.names["queue"]
    member = given.get("node")
    if member and member not in {each.node_id for each in node.facts.members()}:
        raise BadRequest(f"Node {member} could not be contacted")
    arguments = json_object(given, "arguments")
    if (kind := given.get("queue_type")) and "x-queue-type" not in arguments:
        arguments["x-queue-type"] = str(kind)
    is_new = name not in node.vhosts[call.names["vhost"]].queues
    method = amqp.QueueDeclare(
        queue=_named(name, "queue"),
        durable=boolean(given.get("durable", False)),
        auto_delete=boolean(given.get("auto_delete", False)),
        arguments=table_of({"arguments": arguments}),
    )
    await act(node, call, method)
    return created(is_new)


def _named(name: str, kind: str) -> str:
    if not name:
        raise BadRequest(f"the name of the {kind} is empty")
    return name


async def delete_queue(node: ManagedNode, call: Call) -> Any:
    queue = queue_of(vhost_of(node, call), call)
    if_unused, if_empty = call.says("if-unused"), call.says("if-empty")
    await act(node, call, amqp.QueueDelete(queue=queue.name, if_unused=if_unused, if_empty=if_empty))
    return empty(NO_CONTENT)


async def act_on_queue(node: ManagedNode, call: Call) -> Any:
    """Answer as RabbitMQ does; there are no mirrors here to be brought in step."""
    queue_of(vhost_of(node, call), call)
    action = required(await call.json_object(), "action")
    if action not in ("sync", "cancel_sync"):
        raise BadRequest(["unknown", str(action)])
    return empty(NO_CONTENT)


async def put_exchange(node: ManagedNode, call: Call) -> Any:
    _known_vhost(node, call)
    given, name = await call.json_object(), named(call)
    method = amqp.ExchangeDeclare(
        exchange=name,
        type=str(given.get("type", "direct")),
        durable=boolean(given.get("durable", False)),
        auto_delete=boolean(given.get("auto_delete", False)),
        internal=boolean(given.get("internal", False)),
        arguments=table_of(given),
    )
    is_new = name not in node.vhosts[call.names["vhost"]].exchanges
    await act(node, call, method)
    return created(is_new)


async def delete_exchange(node: ManagedNode, call: Call) -> Any:
    exchange = exchange_of(vhost_of(node, call), call)
    await act(node, call, amqp.ExchangeDelete(exchange=exchange.name, if_unused=call.says("if-unused")))
    return empty(NO_CONTENT)


async def post_binding(node: ManagedNode, call: Call) -> Any:
    _known_vhost(node, call)
    given = await call.json_object()
    routing_key, arguments = given.get("routing_key", ""), table_of(given)
    if not isinstance(routing_key, str):
        raise BadRequest("the 'routing_key' is a text")
    source = named(call)
    method: amqp.QueueBind | amqp.ExchangeBind
    if "queue" in call.names:
        place, destination = "queue", call.names["queue"]
        method = amqp.QueueBind(queue=destination, exchange=source, routing_key=routing_key, arguments=arguments)
        binding = Binding(source, ("queue", destination), routing_key, arguments)
    else:
        place, destination = "destination", named(call, "destination")
        method = amqp.ExchangeBind(destination=destination, source=source, routing_key=routing_key, arguments=arguments)
        binding = Binding(source, ("exchange", destination), routing_key, arguments)
    await act(node, call, method)
    parts = (call.names[place], properties_key(binding))
    return empty(CREATED, Location="/".join(quote(part, safe="~", errors="surrogateescape") for part in parts))


async def delete_binding(node: ManagedNode, call: Call) -> Any:
    binding = binding_of(vhost_of(node, call), call)
    kind, destination = binding.destination
    arguments: FieldTable = binding.arguments
    await act(
        node,
        call,
        amqp.QueueUnbind(
            queue=destination, exchange=binding.source, routing_key=binding.routing_key, arguments=arguments
        )
        if kind == "queue"
        else amqp.ExchangeUnbind(
            destination=destination, source=binding.source, routing_key=binding.routing_key, arguments=arguments
        ),
    )
    return empty(NO_CONTENT)


_QUEUE: Final = "/queues/{vhost}/{queue}"
_EXCHANGE: Final = "/exchanges/{vhost}/{exchange}"
_TO_QUEUE: Final = "/bindings/{vhost}/e/{exchange}/q/{queue}"
_TO_EXCHANGE: Final = "/bindings/{vhost}/e/{exchange}/e/{destination}"

ROUTES = (
    ApiRoute("PUT", _QUEUE, Needs.VHOST, put_queue, "Declare a queue"),
    ApiRoute("DELETE", _QUEUE, Needs.VHOST, delete_queue, "Delete a queue"),
    ApiRoute("POST", f"{_QUEUE}/actions", Needs.VHOST, act_on_queue, "Synchronise mirrors: there are none"),
    ApiRoute("PUT", _EXCHANGE, Needs.VHOST, put_exchange, "Declare an exchange"),
    ApiRoute("DELETE", _EXCHANGE, Needs.VHOST, delete_exchange, "Delete an exchange"),
    ApiRoute("POST", _TO_QUEUE, Needs.VHOST, post_binding, "Bind a queue to an exchange"),
    ApiRoute("DELETE", f"{_TO_QUEUE}/{{properties}}", Needs.VHOST, delete_binding, "Delete a binding of a queue"),
    ApiRoute("POST", _TO_EXCHANGE, Needs.VHOST, post_binding, "Bind an exchange to an exchange"),
    ApiRoute(
        "DELETE", f"{_TO_EXCHANGE}/{{properties}}", Needs.VHOST, delete_binding, "Delete a binding between exchanges"
    ),
)
