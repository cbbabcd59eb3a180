"""What every writer of WSO2's tables does: it takes a lock, finds the ids of rows, and makes rows that are missing.

Unique keys are missing on PostgreSQL, and for some tables everywhere: two writers would make the same row twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, func, insert, select, text
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.selectable import TableClause

from broker.errors import StoreUnavailable
from broker.store.carbon.tables import TENANT, UM_DOMAIN

DOMAINS: Final = ("PRIMARY", "SYSTEM", "INTERNAL", "APPLICATION", "WORKFLOW")
"""The domains of a tenant, in the order in which WSO2 makes them."""
_LOCK: Final = "cordillera/carbon"
_LOCK_NUMBER: Final = 0x636F7264696C6C
_LOCK_SECONDS: Final = 3


@contextmanager
def writing(connection: Connection) -> Iterator[None]:
    """Let no other node of this program write in these tables meanwhile. Raises `StoreUnavailable` after a wait."""
    match connection.dialect.name:
        case "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_LOCK_NUMBER)))  # until the transaction ends
            yield
        case "mysql":
            if connection.scalar(select(func.get_lock(_LOCK, _LOCK_SECONDS))) != 1:
                raise StoreUnavailable("another node writes in the tables of users")
            try:
                yield
                connection.execute(text("COMMIT"))  # before the next one may look
            finally:
                connection.execute(select(func.release_lock(_LOCK)))
        case _:
            yield


def find_id(connection: Connection, id_column: ColumnElement[Any], *conditions: ColumnElement[bool]) -> int | None:
    """Return the smallest id of the rows under these conditions, None when there is none."""
    found: int | None = connection.scalar(select(func.min(id_column)).where(*conditions))
    return found


def id_of(
    connection: Connection, table: TableClause, id_column: ColumnElement[Any], values: dict[str, Any]
) -> tuple[int, bool]:
    """Return the id of the row with these values, which is made when it is missing, and whether it was."""
    conditions: list[Any] = [table.c[name] == value for name, value in values.items()]
    found = find_id(connection, id_column, *conditions)
    if found is not None:
        return found, False
    connection.execute(insert(table).values(values))
    made = find_id(connection, id_column, *conditions)
    assert made is not None
    return made, True


def domain_id(connection: Connection, name: str) -> int:
    """Return the id of a domain of the super tenant; in a database that is new all five are made."""
    column = UM_DOMAIN.c
    found = find_id(connection, column.UM_DOMAIN_ID, column.UM_DOMAIN_NAME.in_([name]), column.UM_TENANT_ID == TENANT)
    if found is not None:
        return found
    for each in DOMAINS:
        id_of(connection, UM_DOMAIN, column.UM_DOMAIN_ID, {"UM_DOMAIN_NAME": each, "UM_TENANT_ID": TENANT})
    return domain_id(connection, name)
