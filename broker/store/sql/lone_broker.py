"""The row by which a standalone broker keeps others away where locks hold on one server only (ADR 87).

Its broker moves the stamp on; who looks sees whether it moves.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from broker.store.sql.cluster import now_ms
from broker.store.sql.schema import STORE_STATUS

_NAME: Final = "(lone broker)"
_S: Final = STORE_STATUS.c


def read_stamp(connection: Connection) -> int | None:
    """Return the stamp; None when no standalone broker is there."""
    stamp: int | None = connection.scalar(select(_S.time_stamp).where(_S.node_id == _NAME))
    return stamp


def move_stamp(connection: Connection, seen: int | None) -> int | None:
    """Move the stamp on, or make it, and return it; None, with nothing changed, when it is not as it was seen."""
    now: int = connection.scalar(select(now_ms(connection))) or 0
    stamp = max(now, (seen or 0) + 1)
    if seen is not None:
        is_same = (_S.node_id == _NAME) & (_S.time_stamp == seen)
        found = connection.execute(update(STORE_STATUS).where(is_same).values(time_stamp=stamp)).rowcount
        return stamp if found == 1 else None
    try:
        with connection.begin_nested():
            connection.execute(insert(STORE_STATUS).values(node_id=_NAME, time_stamp=stamp))
    except IntegrityError:
        return None
    return stamp


def drop_stamp(connection: Connection, seen: int) -> None:
    """Delete the stamp, unless it has moved."""
    connection.execute(delete(STORE_STATUS).where((_S.node_id == _NAME) & (_S.time_stamp == seen)))
