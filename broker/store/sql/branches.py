"""Prepared branches of distributed transactions in the tables: what every SQL engine shares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from sqlalchemy import Connection, delete, select

from broker.ports.branches import BranchKey, PreparedBranch, Xid
from broker.store.rows import MAX_CONTENT_CHUNK_SIZE
from broker.store.sql.schema import DTX_BRANCH, DTX_BRANCH_CONTENT

_KEYS_PER_STATEMENT: Final = 100


def prepared_xids(connection: Connection, vhost: str, limit: int) -> list[Xid]:
    """Return the names of the first prepared branches of a virtual host."""
    b = DTX_BRANCH.c
    found = select(b.format_code, b.global_id, b.branch_id).where(b.vhost == vhost).order_by(b.branch_key).limit(limit)
    return [Xid(number, bytes(name), bytes(branch)) for number, name, branch in connection.execute(found)]


def read_branch(connection: Connection, key: BranchKey) -> PreparedBranch | None:
    """Return a prepared branch, if it is there."""
    c = DTX_BRANCH_CONTENT.c
    found = select(c.branch_content).where(c.branch_key == key.digest).order_by(c.content_offset)
    pieces = connection.scalars(found).all()
    return PreparedBranch(key, b"".join(map(bytes, pieces))) if pieces else None


def forget_branches(connection: Connection, vhosts: Sequence[str]) -> None:
    """Delete all prepared branches of virtual hosts."""
    named = select(DTX_BRANCH.c.branch_key).where(DTX_BRANCH.c.vhost.in_(vhosts))
    keys = iter(connection.scalars(named).all())
    while part := list(islice(keys, _KEYS_PER_STATEMENT)):
        for rows in (DTX_BRANCH_CONTENT, DTX_BRANCH):
            connection.execute(delete(rows).where(rows.c.branch_key.in_(part)))


def pieces_of(branch: PreparedBranch) -> Iterator[tuple[int, bytes]]:
    """Return the content in pieces with their offsets, one at least."""
    for offset in range(0, len(branch.content) or 1, MAX_CONTENT_CHUNK_SIZE):
        yield offset, branch.content[offset : offset + MAX_CONTENT_CHUNK_SIZE]
