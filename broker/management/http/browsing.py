"""Messages of a queue as they lie there: nobody takes them, and nothing about them changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import structlog

from broker.amqp.purposes import using
from broker.auth.access import Operation, Permission
from broker.auth.audit import MESSAGES_BROWSED, tell
from broker.management.http.access import Needs, vhost_of
from broker.management.http.acting import access_of
from broker.management.http.call import BadRequest, Call, HttpAnswer, as_json
from broker.management.http.forms import boolean
from broker.management.http.listing import rows_as_json
from broker.management.http.messages import payload_row, properties_row
from broker.management.http.node_view import ManagedNode
from broker.management.http.queues import queue_of
from broker.management.http.routing import ApiRoute
from broker.message import Message, published_ms, routing_of
from broker.queue.pages import page_of
from broker.queue.queue import Queue

_log = structlog.get_logger(__name__)

MOST_BROWSED: Final = 500
"""Messages of one answer."""
_OCTETS_AT_ONCE: Final = 4 * 1024 * 1024
_SHOWN: Final = 64 * 1024
"""Octets of a payload that are shown if nothing else is said."""
_MOST_SHOWN: Final = 16 * 1024 * 1024
"""Octets of payloads in one answer."""


async def browse(node: ManagedNode, call: Call) -> Any:
    """Return messages with ids above `after`, the oldest first, and where to go on.

    With `payload=true` they are told with their bodies, which are cut after `truncate` octets.
    """
    vhost = vhost_of(node, call)
    queue = queue_of(vhost, call)
    access = await access_of(node, call, vhost)
    access.require(Permission.READ, "queue", queue.name, using(access, Operation.CONSUME, vhost, queue.name))
    if queue.is_stream:
        name = queue.name
        raise BadRequest(f"queue '{name}' is a stream: a consumer, or brokerctl sub {name} --offset first reads it")
    limit = number(call.query, "limit", 50, MOST_BROWSED)
    after = number(call.query, "after", 0, (1 << 63) - 1)
    has_payload = boolean(call.query.get("payload") or False)
    truncate = number(call.query, "truncate", _SHOWN, _MOST_SHOWN) if has_payload else 0
    found, end = await _pages(node, queue, after, max(limit, 1))
    if has_payload:
        tell(_log, MESSAGES_BROWSED, user=call.caller.name, vhost=vhost.name, queue=queue.name, messages=len(found))
    shown: list[Message] = []
    octets = 0
    for message in found:
        octets += min(message.size, truncate)
        if octets > _MOST_SHOWN and shown:
            end = shown[-1].id
            break
        shown.append(message)

    def row(message: Message) -> Mapping[str, Any]:
        told = message_row(message)
        if has_payload:
            told |= payload_row(message.payload[:truncate], "auto")
        return told

    items = await rows_as_json(node, shown, row)
    head = as_json({"vhost": vhost.name, "queue": queue.name, "next": end})
    return HttpAnswer(body=head[:-1] + b',"items":' + items + b"}")


async def _pages(node: ManagedNode, queue: Queue, after: int, limit: int) -> tuple[list[Message], int | None]:
    """Likewise, as many as are wanted: what is in memory only, and what clients hold, makes pages that are short."""
    found: list[Message] = []
    end: int | None = after
    while end is not None and len(found) < limit:
        page, end = await _page(node, queue, end, limit - len(found))
        found += page
    return found, end


async def _page(node: ManagedNode, queue: Queue, after: int, limit: int) -> tuple[list[Message], int | None]:
    """Return the next messages that wait in the queue, and after which id to go on, None at the end."""
    node.broker.catch_up(queue)
    found: list[Message] = []
    ends: list[int] = []
    for level in queue.levels:
        read, last = node.shared.read, node.broker.ids.last
        page, end = await page_of(level, after, last, read, at_once=limit, octets=_OCTETS_AT_ONCE)
        held = set(node.broker.held_ids(level))
        found += [each for each in page if each.id not in held and not level.has_expired(each) and each.header]
        if end is not None:
            ends.append(end)
        await node.in_turn(len(page) + 1)
    found.sort(key=_id_of)
    upto = min(ends, default=None)
    if upto is not None:
        found = [message for message in found if message.id <= upto]
    if len(found) > limit:
        return found[:limit], found[limit - 1].id
    return found, upto


def _id_of(message: Message) -> int:
    return message.id


def message_row(message: Message) -> dict[str, Any]:
    """Return what a message says of itself, without its body."""
    exchange, routing_key = routing_of(message.routing)
    return {
        "id": message.id,
        "published_ms": published_ms(message.id),
        "payload_bytes": message.size,
        "persistent": message.is_persistent,
        "deliveries": message.redelivered,
        "exchange": exchange,
        "routing_key": routing_key,
        "properties": properties_row(message.header_payload) or {},
    }


def number(query: Mapping[str, str], name: str, default: int, most: int) -> int:
    """Return a number of a query. Raises `BadRequest`."""
    text = query.get(name)
    if text in (None, ""):
        return default
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 19 or int(text) > most:
        raise BadRequest(f"'{name}' is a number from 0 to {most}")
    return int(text)


ROUTES = (
    ApiRoute(
        "GET",
        "/broker/messages/{vhost}/{queue}",
        Needs.VHOST,
        browse,
        "Show the messages of a queue as they lie there, and take none",
        ("limit", "after", "payload", "truncate"),
    ),
)
