"""Queues: what they are set to do, and what is in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from broker.management.figures.connections import connection_details
from broker.management.figures.history import NO_SAMPLES, SampleSpans
from broker.management.figures.merging import Elsewhere, add_queue
from broker.management.figures.pages import kind_of_consumers, kind_of_queues
from broker.management.figures.queues import consumer_and_delivery, definition_figures, queue_figures
from broker.management.http.access import Needs, vhost_of, visible_here
from broker.management.http.call import Call, NotThere
from broker.management.http.elsewhere import partly
from broker.management.http.listing import MAX_PAGE, Row, listed_in_pages
from broker.management.http.node_view import ManagedNode
from broker.management.http.routing import ApiRoute
from broker.management.http.samples import spans_of
from broker.ports.names import SCHEDULE
from broker.queue.queue import Queue
from broker.queue.settings import QueueType
from broker.topology.vhost import VirtualHost


def queue_row(node: ManagedNode, queue: Queue, elsewhere: Elsewhere, spans: SampleSpans = NO_SAMPLES) -> dict[str, Any]:
    """Return what a queue is, and what is in it on all nodes. Of nodes that have not answered it is what this one has
    been told a second ago.
    """
    row = queue_figures(node.view, queue, spans)
    if elsewhere.silent:
        told = queue.message_count - queue.ready_count
        for name in ("messages", "messages_ready"):
            row[name] += told
        row["consumers"] = queue.consumer_count
    else:
        for each in elsewhere.of(queue.vhost, queue.name):
            add_queue(row, each)
    if queue.settings.type is not QueueType.CLASSIC:
        members = [member.node_id for member in node.facts.members()]
        limit = queue.settings.delivery_limit
        row |= {
            "delivery_limit": "unlimited" if limit is None else limit,
            "leader": node.node_id,
            "members": members,
            "online": members,
        }
    return row


async def list_queues(node: ManagedNode, call: Call) -> Any:
    found = [
        (vhost, queue)
        for vhost in await visible_here(node, call)
        for _, queue in sorted(vhost.queues.items())
        if not queue.is_closing
    ]
    is_plain = call.says("disable_stats")
    has_totals = call.says("enable_queue_totals")
    spans = spans_of(call.query)
    node.view.hear_of_publishes()
    elsewhere = Elsewhere()

    async def rows_of(places: Sequence[_Place]) -> Callable[[_Place], Row]:
        nonlocal elsewhere
        if not is_plain:
            elsewhere = await node.view.others.read(_kind_of(places) if len(places) < len(found) else "queues")
        return row

    def row(place: _Place) -> Row:
        queue = place[1]
        if not is_plain:
            return queue_row(node, queue, elsewhere, spans)
        told = definition_figures(node.view, queue)
        return {**told, **_totals(queue)} if has_totals else told

    answer = await listed_in_pages(node, call, found, rows_of, _KEYS, name_of=lambda place: place[1].name)
    return partly(answer, elsewhere)


_Place: TypeAlias = tuple[VirtualHost, Queue]
_LONGEST_KIND: Final = 256 * 1024
"""Characters with which other nodes may be asked for single queues."""


def _kind_of(places: Sequence[_Place]) -> str:
    """Return the kind of figures that are those of these queues, or of all if these have too long names."""
    if len(places) > MAX_PAGE:
        return "queues"
    kind = kind_of_queues([(queue.vhost, queue.name) for _, queue in places])
    return kind if len(kind) <= _LONGEST_KIND else "queues"


_KEYS: Final[Mapping[str, Callable[[_Place], Any]]] = {
    "name": lambda place: place[1].name,
    "vhost": lambda place: place[1].vhost,
    "messages": lambda place: place[1].message_count + place[1].unacked_count,
    "messages_ready": lambda place: place[1].message_count,
    "messages_unacknowledged": lambda place: place[1].unacked_count,
    "consumers": lambda place: place[1].consumer_count,
}
"""What pages of queues are sorted by without a row of each: in a cluster by what nodes tell each other every second."""


def _totals(queue: Queue) -> Mapping[str, int]:
    ready, unacked = queue.message_count, queue.unacked_count
    return {"messages": ready + unacked, "messages_ready": ready, "messages_unacknowledged": unacked}


async def get_queue(node: ManagedNode, call: Call) -> Any:
    vhost = vhost_of(node, call)
    queue = queue_of(vhost, call)
    if call.says("disable_stats"):
        told = definition_figures(node.view, queue)
        return {**told, **_totals(queue)} if call.says("enable_queue_totals") else told
    node.broker.catch_up(queue)
    consumers = [
        (connection, channel, consumer)
        for connection, channel in node.view.channels()
        for consumer in list(channel.consumers.values())
        if consumer.queue.whole is queue
    ]
    node.view.hear_of_publishes()
    elsewhere = await node.view.others.read(kind_of_queues([(queue.vhost, queue.name)]))
    pairs: list[Row] = [consumer_and_delivery(node.view, *each) for each in consumers]
    if any(row.get("consumers") for row in elsewhere.all_rows):
        pairs += (await node.view.others.read(kind_of_consumers(queue.vhost, queue.name))).all_rows
    return {
        **queue_row(node, queue, elsewhere, spans_of(call.query)),
        "consumer_details": [each["consumer"] for each in pairs],
        "deliveries": [each["delivery"] for each in pairs],
        "incoming": [],
        **_owner(node, queue),
    }


def _owner(node: ManagedNode, queue: Queue) -> dict[str, Any]:
    """Return whose an exclusive queue is, if that is a connection of this node."""
    if not queue.is_exclusive:
        return {}
    for connection in node.view.connections():
        if connection.owns(queue):
            return {"owner_pid_details": connection_details(connection)}
    return {}


def queue_of(vhost: VirtualHost, call: Call) -> Queue:
    """Return the queue that the path names; raise `NotThere` if there is none."""
    queue = vhost.queues.get(call.names["queue"])
    if queue is None or queue.is_closing:
        if call.names["queue"] == SCHEDULE:
            raise NotThere(f"'{SCHEDULE}' is no queue of clients: what waits in it is at /api/broker/delayed")
        raise NotThere(f"there is no {vhost.phrase('queue', call.names['queue'])}")
    return queue


ROUTES = (
    ApiRoute("GET", "/queues", Needs.LOGIN, list_queues, "List the queues of all virtual hosts"),
    ApiRoute("GET", "/queues/{vhost}", Needs.VISIBLE, list_queues, "List the queues of a virtual host"),
    ApiRoute("GET", "/queues/detailed", Needs.LOGIN, list_queues, "List the queues of all virtual hosts in full"),
    ApiRoute("GET", "/queues/{vhost}/{queue}", Needs.VISIBLE, get_queue, "Show a queue"),
)
