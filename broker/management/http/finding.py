"""Messages are found, wherever they are: below `/api/broker/find` (docs/finding-messages.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from broker.amqp.purposes import using
from broker.auth.access import Access, Operation, Permission
from broker.errors import AccessRefused
from broker.management.http.access import Needs, vhost_of
from broker.management.http.acting import access_of
from broker.management.http.browsing import number
from broker.management.http.call import BadRequest, Call, HttpAnswer, as_json
from broker.management.http.elsewhere import named_silent
from broker.management.http.found_messages import (
    IDENTIFIERS,
    Row,
    WantedMessage,
    kind_of,
    queues_in,
    seen_here,
    stored_row,
    told_by,
)
from broker.management.http.node_view import ManagedNode
from broker.management.http.routing import ApiRoute
from broker.message import first_id_at
from broker.ports.finding import BEHIND_ALL, MOST_FOUND, FoundRow
from broker.queue.queue import Queue
from broker.topology.vhost import VirtualHost

MOST_LOOKED_AT: Final = 100_000
"""Stored messages that one request looks at."""
_USUAL: Final = 20_000
_STEP: Final = 2000
"""Stored messages that one question to the store looks at."""
_LATEST_MS: Final = 1 << 44


async def find_messages(node: ManagedNode, call: Call) -> Any:
    """Return the messages that are meant, the newest first, how many were looked at for that, and where to go on."""
    vhost = vhost_of(node, call)
    wanted = _wanted(vhost, call)
    before = number(call.query, "before", BEHIND_ALL, BEHIND_ALL)
    limit = max(number(call.query, "limit", _USUAL, MOST_LOOKED_AT), 1)
    oldest = max(first_id_at(number(call.query, "since", 0, _LATEST_MS)), 0)
    is_first = before == BEHIND_ALL
    if wanted.message_id is not None:
        before, limit = wanted.message_id + 1, 1
    rows, looked_at, following = await _stored(node, vhost, wanted, before, limit, oldest)
    named = {row["id"]: row["queue"] for row in rows}
    here = await seen_here(node.view, wanted, named, node.shared.next_turn, is_first=is_first)
    elsewhere = await node.view.others.read(kind_of(wanted, named, is_first=is_first))
    told = [here, *(told_by(seen) for seen in elsewhere.rows.values())]
    for row in rows:
        for each in told:
            state = each.states.get(row["id"], {})
            row |= {**state, "deliveries": max(row["deliveries"], state.get("deliveries", 0))}
    rows += [row for each in told for row in each.rows if row["id"] not in named and row["id"] >= oldest]
    rows.sort(key=_id_of, reverse=True)
    access = await access_of(node, call, vhost)
    answer: Row = {
        "items": [row for row in rows if _may_read(access, vhost, row["queue"])],
        "looked_at": looked_at,
        "next": following,
        "memory_is_complete": all(each.is_complete for each in told) and not elsewhere.silent,
    }
    return named_silent(HttpAnswer(body=as_json(answer)), elsewhere.silent)


def _wanted(vhost: VirtualHost, call: Call) -> WantedMessage:
    given = [name for name in IDENTIFIERS if call.query.get(name) is not None]
    if len(given) != 1:
        raise BadRequest(f"say which message: one of {', '.join(IDENTIFIERS)}")
    try:
        return WantedMessage.of(vhost.name, given[0], call.query[given[0]])
    except ValueError as error:
        raise BadRequest(str(error)) from None


def _id_of(row: Mapping[str, Any]) -> int:
    found: int = row["id"]
    return found


def _may_read(access: Access, vhost: VirtualHost, queue: str) -> bool:
    try:
        access.require(Permission.READ, "queue", queue, using(access, Operation.CONSUME, vhost, queue))
    except AccessRefused:
        return False
    return True


async def _stored(
    node: ManagedNode, vhost: VirtualHost, wanted: WantedMessage, before: int, limit: int, oldest: int
) -> tuple[list[Row], int, int | None]:
    """Return what is in the store of this virtual host, how many messages were looked at, and below which id to go on;
    None when all were seen that came since `oldest`.
    """
    queues: dict[int, Queue] = {}
    for queue in queues_in(vhost).values():
        queues.update((level.queue_id, queue) for level in queue.levels)
    rows: list[Row] = []
    looked_at = 0
    following: int | None = before
    while following is not None and looked_at < limit and len(rows) < MOST_FOUND:
        page = await node.find_stored(wanted.octets, following, min(_STEP, limit - looked_at))
        rows += _told(wanted, queues, [each for each in page.rows if each.message_id >= oldest])
        looked_at, following = looked_at + page.seen, page.last
        if following is not None and (following < oldest or wanted.message_id is not None):
            following = None
        await node.in_turn(100)
    return rows, looked_at, following


def _told(wanted: WantedMessage, queues: Mapping[int, Queue], found: list[FoundRow]) -> list[Row]:
    rows = (stored_row(wanted, queues[each.queue_id], each) for each in found if each.queue_id in queues)
    return [row for row in rows if row is not None]


_QUERY: Final = (*IDENTIFIERS, "before", "limit", "since")

ROUTES = (
    ApiRoute(
        "GET", "/broker/find/{vhost}", Needs.VHOST, find_messages, "Find messages, in whatever queue they are", _QUERY
    ),
)
