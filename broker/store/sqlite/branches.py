"""What a batch does to prepared branches of distributed transactions, in SQLite."""

from __future__ import annotations

import sqlite3
from typing import Final

from broker.errors import BranchConflict
from broker.ports.store import Batch
from broker.store.sql.branches import pieces_of

_ADD: Final = (
    "INSERT INTO MB_DTX_BRANCH (BRANCH_KEY, VHOST, FORMAT_CODE, GLOBAL_ID, BRANCH_ID) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT DO NOTHING"
)
_ADD_CONTENT: Final = "INSERT INTO MB_DTX_BRANCH_CONTENT (BRANCH_KEY, CONTENT_OFFSET, BRANCH_CONTENT) VALUES (?, ?, ?)"
_REMOVE: Final = "DELETE FROM MB_DTX_BRANCH WHERE BRANCH_KEY = ?"
_REMOVE_CONTENT: Final = "DELETE FROM MB_DTX_BRANCH_CONTENT WHERE BRANCH_KEY = ?"


def change_branches(connection: sqlite3.Connection, batch: Batch) -> None:
    """Add and remove branches, in the transaction that `connection` is in. Raises `BranchConflict`."""
    for branch in batch.prepared:
        digest, xid = branch.key.digest, branch.key.xid
        row = (digest, branch.key.vhost, xid.format_id, xid.global_id, xid.branch_id)
        if connection.execute(_ADD, row).rowcount != 1:
            raise BranchConflict(digest)
        for offset, piece in pieces_of(branch):
            connection.execute(_ADD_CONTENT, (digest, offset, piece))
    for key in batch.resolved:
        if connection.execute(_REMOVE, (key.digest,)).rowcount != 1:
            raise BranchConflict(key.digest)
        connection.execute(_REMOVE_CONTENT, (key.digest,))
