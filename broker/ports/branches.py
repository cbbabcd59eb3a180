"""Branches of distributed transactions, as they are kept once they are prepared."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True, slots=True)
class Xid:
    """The name of a branch: format, global transaction and branch qualifier (X/Open XA, `struct xid_t`)."""

    format_id: int
    global_id: bytes
    branch_id: bytes


@dataclass(frozen=True)
class BranchKey:
    """A branch of a virtual host."""

    vhost: str
    xid: Xid

    @cached_property
    def digest(self) -> str:
        """64 hexadecimal digits that no other branch has: all fields together are too long for an index of MySQL."""
        xid = self.xid
        parts = (self.vhost.encode(), b"%d" % xid.format_id, xid.global_id, xid.branch_id)
        return hashlib.sha256(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).hexdigest()


@dataclass(frozen=True, slots=True)
class PreparedBranch:
    """A branch and what its commit or rollback is to do, which only the part that wrote it can read."""

    key: BranchKey
    content: bytes
