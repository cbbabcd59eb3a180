"""Looks at a database of a server as a start would find it. Nothing is written, and no lock is kept."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from sqlalchemy import Connection

from broker.ports.store import StoreLook
from broker.store.server.dialect import Dialect
from broker.store.server.engine import Engine
from broker.store.sql import cluster, migrate
from broker.store.wso2.survey import require_way
from broker.store.wso2.tables import find

_LOCK_SILENCE: Final = 10.0
"""Seconds after which the lock is free if this process ends before it lets go."""


async def look(engine: Engine, dialect: Dialect, *, is_shared: bool, young_ms: int) -> StoreLook:
    """Return what there is; `is_shared` by the nodes of a cluster, otherwise one whose last beat is younger than
    `young_ms` has the database.

    Raises what opening the store would raise.
    """
    raw = await engine.connect()
    try:
        with engine.translated(), engine.deadline(raw):
            is_free = await dialect.lock(raw, "broker", wait=0.0, silence=_LOCK_SILENCE)
    finally:
        dialect.abort(raw)
    is_new, remarks = await engine.run(partial(_judge, young_ms=None if is_shared else young_ms))
    if not is_free:
        remarks = ["is in use by another broker", *remarks]
    async with engine.raw() as lent:
        unsafe = await dialect.check_safety(lent)
    return StoreLook(is_new, [f"{dialect.where} {each}" for each in remarks], unsafe)


def _judge(connection: Connection, *, young_ms: int | None) -> tuple[bool, Sequence[str]]:
    """Return whether this broker has no schema there, and what there is; raise `ConfigError` as `migrate.upgrade`."""
    revision = migrate.judge(connection)
    is_new = revision is None
    if require_way(connection, find(connection), is_new=is_new):
        return True, ["has tables of WSO2's message broker with nothing in them: the start sets them aside"]
    if is_new:
        return True, ["has no tables of this broker: the start makes them"]
    if revision != migrate.HEAD:
        return False, ["is a store of this broker, of an earlier version: the start brings it up to date"]
    member = None if young_ms is None else cluster.young_member(connection, young_ms)
    used = [] if member is None else [f"is in use by the node {member!r} of a cluster"]
    return False, ["is a store of this broker", *used]
