"""The index of message groups, the same in every SQL engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from sqlalchemy import Connection, delete, select

from broker.ports.groups import GroupHead, GroupPage
from broker.store.sql.schema import MESSAGE_GROUP, METADATA

_G: Final = MESSAGE_GROUP.c
_IDS_PER_STATEMENT: Final = 500
_STATEMENTS: Final = 16
"""Pages of the index that are looked at in one call: a large group may fill one alone."""


def read_groups(connection: Connection, queue_id: int, after: int, limit: int, depth: int) -> GroupPage:
    """Return the next groups behind `after`, each with its oldest messages, and forget entries without a message."""
    heads: list[GroupHead] = []
    last = after
    for _ in range(_STATEMENTS):
        page = _page_behind(connection, queue_id, last, limit)
        alive = _forget_others(connection, [message_id for _, message_id in page])
        heads += _heads(((group, message_id) for group, message_id in page if message_id in alive), depth)
        if len(page) < limit:
            return GroupPage(heads, None)
        last = page[-1][0]
        if sum(len(head.message_ids) for head in heads) >= limit:
            break
    return GroupPage(heads, last)


def _page_behind(connection: Connection, queue_id: int, after: int, limit: int) -> list[tuple[int, int]]:
    """Return groups and ids of the next entries behind a group."""
    page = (
        select(_G.group_id, _G.message_id)
        .where(_G.queue_id == queue_id, _G.group_id > after)
        .order_by(_G.group_id, _G.message_id)
        .limit(limit)
    )
    return [(group, message_id) for group, message_id in connection.execute(page)]


def _heads(entries: Iterator[tuple[int, int]], depth: int) -> list[GroupHead]:
    groups: dict[int, list[int]] = {}
    for group, message_id in entries:
        ids = groups.setdefault(group, [])
        if len(ids) < depth:
            ids.append(message_id)
    return [GroupHead(group, ids) for group, ids in groups.items()]


def _forget_others(connection: Connection, message_ids: Sequence[int]) -> set[int]:
    """Return which of these messages are stored; delete the entries of the others."""
    alive: set[int] = set()
    ids = iter(message_ids)
    while part := list(islice(ids, _IDS_PER_STATEMENT)):
        alive |= set(connection.scalars(select(METADATA.c.message_id).where(METADATA.c.message_id.in_(part))))
    gone = iter([message_id for message_id in message_ids if message_id not in alive])
    while part := list(islice(gone, _IDS_PER_STATEMENT)):
        connection.execute(delete(MESSAGE_GROUP).where(_G.message_id.in_(part)))
    return alive
