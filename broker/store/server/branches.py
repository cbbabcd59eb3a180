"""What a batch does to prepared branches of distributed transactions, in PostgreSQL and in MariaDB or MySQL."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from broker.errors import BranchConflict
from broker.store.server.batch import Rows
from broker.store.sql.branches import pieces_of
from broker.store.sql.schema import postgresql_text

_ADD: Final = (
    'INSERT INTO "MB_DTX_BRANCH" ("BRANCH_KEY","VHOST","FORMAT_CODE","GLOBAL_ID","BRANCH_ID")'
    " VALUES ($1,$2,$3,$4,$5) ON CONFLICT DO NOTHING"
)
_ADD_CONTENT: Final = (
    'INSERT INTO "MB_DTX_BRANCH_CONTENT" ("BRANCH_KEY","CONTENT_OFFSET","BRANCH_CONTENT") VALUES ($1,$2,$3)'
)
_REMOVE: Final = 'DELETE FROM "MB_DTX_BRANCH" WHERE "BRANCH_KEY"=$1'
_REMOVE_CONTENT: Final = 'DELETE FROM "MB_DTX_BRANCH_CONTENT" WHERE "BRANCH_KEY"=$1'


async def change_in_postgresql(raw: Any, rows: Rows) -> None:
    """Add and remove branches, in the transaction of the connection `raw`. Raises `BranchConflict`."""
    for branch in rows.prepared:
        digest, xid = branch.key.digest, branch.key.xid
        names = (postgresql_text(branch.key.vhost), xid.format_id, xid.global_id, xid.branch_id)
        if await raw.execute(_ADD, digest, *names) != "INSERT 0 1":
            raise BranchConflict(digest)
        for offset, piece in pieces_of(branch):
            await raw.execute(_ADD_CONTENT, digest, offset, piece)
    for key in rows.resolved:
        if await raw.execute(_REMOVE, key.digest) != "DELETE 1":
            raise BranchConflict(key.digest)
        await raw.execute(_REMOVE_CONTENT, key.digest)


async def change_in_mysql(execute: Callable[[str], Awaitable[list[int]]], rows: Rows) -> None:
    """Add and remove branches by `execute`, which runs a statement in the transaction and returns how many rows it has
    changed. Raises `BranchConflict`. IGNORE passes over a branch that is there already: nothing else can be wrong.
    """
    for branch in rows.prepared:
        digest, xid = branch.key.digest, branch.key.xid
        vhost, global_id, branch_id = branch.key.vhost.encode().hex(), xid.global_id.hex(), xid.branch_id.hex()
        added = await execute(
            "INSERT IGNORE INTO MB_DTX_BRANCH (BRANCH_KEY,VHOST,FORMAT_CODE,GLOBAL_ID,BRANCH_ID)"
            f" VALUES ('{digest}',x'{vhost}',{xid.format_id},x'{global_id}',x'{branch_id}')"
        )
        if added != [1]:
            raise BranchConflict(digest)
        for offset, piece in pieces_of(branch):
            await execute(
                "INSERT INTO MB_DTX_BRANCH_CONTENT (BRANCH_KEY,CONTENT_OFFSET,BRANCH_CONTENT)"
                f" VALUES ('{digest}',{offset},x'{piece.hex()}')"
            )
    for key in rows.resolved:
        if await execute(f"DELETE FROM MB_DTX_BRANCH WHERE BRANCH_KEY='{key.digest}'") != [1]:
            raise BranchConflict(key.digest)
        await execute(f"DELETE FROM MB_DTX_BRANCH_CONTENT WHERE BRANCH_KEY='{key.digest}'")
