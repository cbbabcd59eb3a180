"""Messages over HTTP: publish one, get some, purge a queue. For looking at things, not for moving many."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

from broker.amqp.local_client import LocalClient, SentMethod
from broker.codec import methods as amqp
from broker.codec.field_table import FieldTable
from broker.codec.properties import BasicProperties, decode_properties
from broker.errors import AmqpError, NotFound, SyntaxFault
from broker.management.http.access import Needs, vhost_of
from broker.management.http.acting import act, client_of, table_of
from broker.management.http.call import NO_CONTENT, BadRequest, Call, HttpAnswer, HttpRefusal, as_json, empty
from broker.management.http.exchanges import named
from broker.management.http.forms import boolean, required, whole_number
from broker.management.http.node_view import ManagedNode
from broker.management.http.queues import queue_of
from broker.management.http.routing import ApiRoute
from broker.topology.json_form import plain

MAX_GOT: Final = 1000
"""Messages that one request may get."""
MAX_OCTETS: Final = 16 * 1024 * 1024
"""Octets of payloads in one answer."""
_MOST_TRUNCATED: Final = 1 << 31
_TEXTS: Final = (
    "content_type",
    "content_encoding",
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    "type",
    "user_id",
    "app_id",
    "cluster_id",
)
_NUMBERS: Final = ("delivery_mode", "priority", "timestamp")

# name: does a message come back (to its queue), and does it die otherwise?
_ACK_MODES: Final[Mapping[str, tuple[bool, bool]]] = {
    "ack_requeue_true": (True, False),
    "reject_requeue_true": (True, False),
    "ack_requeue_false": (False, False),
    "reject_requeue_false": (False, True),
}


async def publish(node: ManagedNode, call: Call) -> Any:
    vhost_of(node, call)
    given = await call.json_object()
    routing_key, payload = required(given, "routing_key"), required(given, "payload")
    encoding = required(given, "payload_encoding")
    if not isinstance(routing_key, str):
        raise BadRequest("routing_key_not_string")
    if not isinstance(payload, str):
        raise BadRequest("payload_not_string")
    properties, body = _properties(given), _decoded(payload, encoding)
    if alarm := node.facts.alarm():
        raise HttpRefusal(503, "service_unavailable", f"publishers are blocked: {alarm}")
    try:
        async with client_of(node, call) as client:
            outcome = await client.publish(named(call), routing_key, properties, body)
    except AmqpError as error:
        raise BadRequest(f"{error.reply_code.value} {error.reply_text}") from None
    except ValueError as error:
        raise BadRequest(str(error)) from None
    if outcome == "rejected":
        raise BadRequest("rejected")
    return {"routed": outcome == "routed"}


def _decoded(payload: str, encoding: object) -> bytes:
    if encoding == "string":
        return payload.encode("utf-8", "surrogatepass")
    if encoding != "base64":
        raise BadRequest(["unsupported_encoding", encoding])
    try:
        return base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(["not_base64", payload[:100]]) from None


def _properties(given: Mapping[str, Any]) -> BasicProperties:
    values = given.get("properties")
    if values in (None, []):
        values = {}
    if not isinstance(values, Mapping):
        raise BadRequest("'properties' is a JSON object")
    told: dict[str, Any] = {}
    for name in _TEXTS:
        if values.get(name) is not None:
            if not isinstance(values[name], str):
                raise BadRequest(["not_string", name])
            told[name] = values[name]
    for name in _NUMBERS:
        if values.get(name) is not None:
            if not isinstance(values[name], int) or isinstance(values[name], bool):
                raise BadRequest(["not_int", name])
            told[name] = values[name]
    if values.get("headers"):
        told["headers"] = table_of(values, "headers")
    return BasicProperties(**told)


async def get_messages(node: ManagedNode, call: Call) -> Any:
    vhost_of(node, call)
    given = await call.json_object()
    if "requeue" in given and "ackmode" not in given:  # as before RabbitMQ 3.7; Nameko and pyrabbit say it
        given = {**given, "ackmode": "ack_requeue_true" if boolean(given["requeue"]) else "ack_requeue_false"}
    mode, asked, encoding = (required(given, name) for name in ("ackmode", "count", "encoding"))
    count = whole_number(asked, "count")
    if mode not in _ACK_MODES:
        raise BadRequest(["unsupported_ackmode", str(mode)])
    if encoding not in ("auto", "base64"):
        raise BadRequest("Unsupported encoding. Please use auto or base64.")
    if not 0 < count <= MAX_GOT:
        raise BadRequest(f"'count' is from 1 to {MAX_GOT}")
    truncate = whole_number(given.get("truncate", _MOST_TRUNCATED), "truncate")
    if truncate < 0:
        raise BadRequest("'truncate' is a number of octets")
    comes_back, dies = _ACK_MODES[mode]
    try:
        async with client_of(node, call) as client:
            return await _got(node, call, client, count, comes_back, dies, encoding, truncate)
    except NotFound as error:
        raise HttpRefusal(404, "not_found", error.reply_text) from None
    except (ValueError, SyntaxFault) as error:
        raise BadRequest(str(error)) from None


async def _got(
    node: ManagedNode,
    call: Call,
    client: LocalClient,
    count: int,
    comes_back: bool,
    dies: bool,
    encoding: str,
    truncate: int,
) -> HttpAnswer:
    """Get up to so many messages, and settle them when all are told: what cannot be told goes back."""
    pieces: list[bytes] = []
    octets = last_tag = 0
    for _ in range(count):
        (told,) = await client.call(amqp.BasicGet(queue=call.names["queue"], no_ack=False))
        method = told.method
        if not isinstance(method, amqp.BasicGetOk):
            break
        size = min(sum(map(len, told.pieces)), truncate)
        if octets + size > MAX_OCTETS:
            if not pieces:
                raise BadRequest(f"the message has more than {MAX_OCTETS} octets: say truncate")
            await client.call(amqp.BasicNack(method.delivery_tag, False, True))
            break
        octets += size
        last_tag = method.delivery_tag
        pieces.append(as_json(message_row(method, told, encoding, truncate)))
        await node.in_turn(50 + size // 1000)
    if last_tag:
        settled = amqp.BasicNack(last_tag, True, comes_back) if comes_back or dies else amqp.BasicAck(last_tag, True)
        await client.call(settled)
    return HttpAnswer(body=b"[" + b",".join(pieces) + b"]")


def message_row(method: amqp.BasicGetOk, told: SentMethod, encoding: str, truncate: int) -> dict[str, Any]:
    """Return a message that was got."""
    body = told.body
    return {
        "payload_bytes": len(body),
        "redelivered": method.redelivered,
        "exchange": method.exchange,
        "routing_key": method.routing_key,
        "message_count": method.message_count,
        "properties": properties_row(told.header),
        **payload_row(body[:truncate], encoding),
    }


def payload_row(body: bytes, encoding: str) -> dict[str, str]:
    """Return a body as text if it is one, otherwise in Base64."""
    if encoding == "auto":
        try:
            return {"payload": body.decode(), "payload_encoding": "string"}
        except UnicodeDecodeError:
            pass
    return {"payload": base64.b64encode(body).decode(), "payload_encoding": "base64"}


def properties_row(header: bytes) -> dict[str, Any] | list[Any]:
    """Return the properties that are set; RabbitMQ has an empty list where there are none."""
    properties = decode_properties(header)
    told: dict[str, Any] = {}
    for name in (*_TEXTS, *_NUMBERS):
        value = getattr(properties, name)
        if value is not None:
            told[name] = value
    if isinstance(properties.headers, FieldTable):
        told["headers"] = plain(properties.headers)
    return told or []


async def purge(node: ManagedNode, call: Call) -> Any:
    queue = queue_of(vhost_of(node, call), call)
    await act(node, call, amqp.QueuePurge(queue=queue.name))
    return empty(NO_CONTENT)


async def check_aliveness(node: ManagedNode, call: Call) -> Any:
    """Declare a queue, publish a message to it and get it, as RabbitMQ does."""
    vhost_of(node, call)
    async with client_of(node, call) as client:
        await client.call(amqp.QueueDeclare(queue=_ALIVENESS))
        outcome = await client.publish("", _ALIVENESS, BasicProperties(), b"test_message")
        (told,) = await client.call(amqp.BasicGet(queue=_ALIVENESS, no_ack=True))
    if outcome != "routed" or not isinstance(told.method, amqp.BasicGetOk):
        raise HttpRefusal(503, "service_unavailable", "a message that was published did not come back")
    return {"status": "ok"}


_ALIVENESS: Final = "aliveness-test"

ROUTES = (
    ApiRoute("POST", "/exchanges/{vhost}/{exchange}/publish", Needs.VHOST, publish, "Publish a message"),
    ApiRoute("POST", "/queues/{vhost}/{queue}/get", Needs.VHOST, get_messages, "Get messages of a queue"),
    ApiRoute("DELETE", "/queues/{vhost}/{queue}/contents", Needs.VHOST, purge, "Purge a queue"),
    ApiRoute("GET", "/aliveness-test/{vhost}", Needs.VHOST, check_aliveness, "Check that messages go through"),
)
