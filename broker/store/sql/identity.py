"""Which database this is, whatever server has it, and which servers are known to have no other one (ADR 88).

Both are rows, so a standby and a restored copy have them, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, insert, inspect, select
from sqlalchemy.exc import IntegrityError

from broker.store.sql.cluster import now_ms
from broker.store.sql.schema import SEQUENCE, STORE_STATUS

NAME: Final = "database identity"
"""The row of MB_SEQUENCE."""
_SERVER: Final = "(server) "
_LONGEST: Final = 255
UNNAMED: Final = 0
"""The identity of a database that has none yet, because only earlier versions have used it."""


@dataclass(frozen=True, slots=True)
class DatabaseIdentity:
    """The number of a database, None where no broker has made its tables; and the keys of servers (`key`) that have
    been asked and had no other database.
    """

    number: int | None
    servers: frozenset[str] = frozenset()

    def knows(self, server: str) -> bool:
        return key(server) in self.servers


def key(server: str) -> str:
    """Return what is recorded of a server, HOST:PORT."""
    return f"{_SERVER}{server}".encode()[:_LONGEST].decode(errors="ignore")


def read(connection: Connection) -> DatabaseIdentity:
    """Return whose database this is."""
    if not inspect(connection).has_table(SEQUENCE.name):
        return DatabaseIdentity(None)
    status = STORE_STATUS.c.node_id
    known = connection.scalars(select(status).where(status.startswith(_SERVER)))
    return DatabaseIdentity(_number(connection), frozenset(known))


def take(connection: Connection, number: int, servers: Iterable[str]) -> int:
    """Return the number of this database, which is `number` if it had none, and record that `servers` have no other."""
    if _number(connection) == UNNAMED:
        _insert(connection, insert(SEQUENCE).values(name=NAME, next_value=number))
    known = read(connection).servers
    now = connection.scalar(select(now_ms(connection)))
    for each in sorted({key(server) for server in servers} - known):
        _insert(connection, insert(STORE_STATUS).values(node_id=each, time_stamp=now))
    return _number(connection)


def _number(connection: Connection) -> int:
    return connection.scalar(select(SEQUENCE.c.next_value).where(SEQUENCE.c.name == NAME)) or UNNAMED


def _insert(connection: Connection, row: object) -> None:
    """Insert a row, unless another node, over another server, has just done that."""
    try:
        with connection.begin_nested():
            connection.execute(row)  # type: ignore[call-overload]
    except IntegrityError:
        return
