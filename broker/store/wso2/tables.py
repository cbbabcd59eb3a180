"""The tables of WSO2's message broker (andes §2.3): which of them a database has, and under which names.

Several are called like this broker's own, with other columns. Before this broker makes its schema in their database
they are set aside: renamed, never dropped or changed. PostgreSQL has WSO2's names in small letters, and this broker's
in capitals, so that there both can be beside each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog
from sqlalchemy import BigInteger, Connection, column, inspect, table, text
from sqlalchemy.sql.selectable import TableClause

from broker.errors import ConfigError

_log = structlog.get_logger(__name__)

ASIDE: Final = "WSO2_"
"""What the names of tables begin with that are set aside."""
PROGRESS: Final = "WSO2_MIGRATION"
"""The table that says how far messages have been moved (`store/wso2/progress`)."""

_LANDMARK: Final = "MB_QUEUE_MAPPING"
"""A table that this broker does not have. It is set aside last: while it is there, and this broker's own schema is not,
the others are WSO2's.
"""

_COLUMNS: Final[Mapping[str, str]] = {
    "MB_MSG_STORE_STATUS": "NODE_ID TIME_STAMP",
    "MB_NODE_TO_LAST_PUBLISHED_ID": "NODE_ID MESSAGE_ID",
    "MB_EXPIRATION_DATA": "MESSAGE_ID EXPIRATION_TIME MESSAGE_DESTINATION",
    "MB_CONTENT": "MESSAGE_ID CONTENT_OFFSET MESSAGE_CONTENT",
    "MB_METADATA": "MESSAGE_ID QUEUE_ID DLC_QUEUE_ID MESSAGE_METADATA",
    "MB_RETAINED_CONTENT": "MESSAGE_ID CONTENT_OFFSET MESSAGE_CONTENT",
    "MB_RETAINED_METADATA": "TOPIC_ID TOPIC_NAME MESSAGE_ID MESSAGE_METADATA",
    "MB_DTX_ENQUEUE_CONTENT": "INTERNAL_XID MESSAGE_ID CONTENT_OFFSET MESSAGE_CONTENT",
    "MB_DTX_DEQUEUE_CONTENT": "INTERNAL_XID MESSAGE_ID CONTENT_OFFSET MESSAGE_CONTENT",
    "MB_DTX_ENQUEUE_RECORD": "INTERNAL_XID MESSAGE_ID MESSAGE_METADATA",
    "MB_DTX_DEQUEUE_RECORD": "INTERNAL_XID MESSAGE_ID QUEUE_NAME MESSAGE_METADATA",
    "MB_DTX_XID": "INTERNAL_XID NODE_ID FORMAT_CODE GLOBAL_ID BRANCH_ID",
    "MB_DURABLE_SUBSCRIPTION": "SUBSCRIPTION_ID DESTINATION_IDENTIFIER SUBSCRIPTION_DATA",
    "MB_BINDING": "EXCHANGE_NAME QUEUE_NAME BINDING_DETAILS",
    "MB_QUEUE": "QUEUE_NAME QUEUE_DATA",
    "MB_EXCHANGE": "EXCHANGE_NAME EXCHANGE_DATA",
    "MB_QUEUE_COUNTER": "QUEUE_NAME MESSAGE_COUNT",
    "MB_NODE": "NODE_ID NODE_DATA",
    "MB_SLOT": "SLOT_ID START_MESSAGE_ID END_MESSAGE_ID STORAGE_QUEUE_NAME SLOT_STATE",
    "MB_SLOT_MESSAGE_ID": "QUEUE_NAME MESSAGE_ID",
    "MB_QUEUE_TO_LAST_ASSIGNED_ID": "QUEUE_NAME MESSAGE_ID",
    "MB_CLUSTER_EVENT": "EVENT_ID ORIGINATED_NODE_ID DESTINED_NODE_ID EVENT_ARTIFACT EVENT_TYPE EVENT_DETAILS",
    "MB_COORDINATOR_HEARTBEAT": "ANCHOR NODE_ID LAST_HEARTBEAT THRIFT_HOST THRIFT_PORT",
    "MB_MEMBERSHIP": "EVENT_ID NODE_ID CHANGE_TYPE CHANGED_MEMBER_ID",
    "MB_NODE_HEARTBEAT": "NODE_ID LAST_HEARTBEAT IS_NEW_NODE CLUSTER_AGENT_HOST CLUSTER_AGENT_PORT",
    _LANDMARK: "QUEUE_ID QUEUE_NAME",
}
"""The tables with the columns that WSO2's scripts of all versions have, in the order in which they are set aside."""

_TYPES: Final[Mapping[str, BigInteger]] = {"MESSAGE_ID": BigInteger(), "EXPIRATION_TIME": BigInteger()}
_NEEDED: Final = ("MB_METADATA", "MB_CONTENT", "MB_QUEUE", "MB_BINDING", "MB_EXCHANGE", _LANDMARK)


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of WSO2's that a database has: its own names for them, by the names that WSO2's scripts have."""

    in_place: Mapping[str, str] = field(default_factory=dict)
    aside: Mapping[str, str] = field(default_factory=dict)
    has_progress: bool = False
    """Is there a table that says how far messages have been moved?"""

    def __bool__(self) -> bool:
        return bool(self.in_place or self.aside)

    def __contains__(self, name: str) -> bool:
        return name in self.in_place or name in self.aside

    def __getitem__(self, name: str) -> TableClause:
        """Return a table for statements, with its columns in small letters."""
        known = self.in_place.get(name) or self.aside[name]
        return table(known, *(column(each.lower(), _TYPES.get(each)) for each in _COLUMNS[name].split()))

    @property
    def missing(self) -> list[str]:
        """Return the tables without which nothing can be read."""
        return [name for name in _NEEDED if name not in self]


def find(connection: Connection) -> Tables:
    """Return the tables of WSO2's. That costs one statement where there are none."""
    names = list(inspect(connection).get_table_names())
    aside = {name.upper().removeprefix(ASIDE): name for name in names if name.upper().startswith(f"{ASIDE}MB_")}
    in_place = dict(_in_place(connection, names))
    return Tables(
        in_place,
        {name: aside[name] for name in _COLUMNS if name in aside},
        any(name.upper() == PROGRESS for name in names),
    )


def _in_place(connection: Connection, names: list[str]) -> Iterator[tuple[str, str]]:
    """Yield WSO2's and the database's name of each table that is not set aside."""
    is_folded = connection.dialect.name == "postgresql"
    known = {name.upper(): name for name in names if not is_folded or name == name.lower()}
    if _LANDMARK not in known or (not is_folded and "ALEMBIC_VERSION" in known):
        return  # tables with these names are this broker's own
    inspector = inspect(connection)
    for name, columns in _COLUMNS.items():
        if name not in known:
            continue
        if {each["name"].upper() for each in inspector.get_columns(known[name])} >= set(columns.split()):
            yield name, known[name]


def require_names(tables: Tables) -> None:
    """Raise `ConfigError` when a name is taken that a table would get when it is set aside."""
    for name, known in tables.in_place.items():
        if name in tables.aside:
            raise ConfigError(
                f"the database has WSO2's table {known} and, set aside, {tables.aside[name]}:"
                " rename or drop the one that is not needed"
            )


def set_aside(connection: Connection, tables: Tables) -> None:
    """Rename the tables that are in place. After a crash in the midst of it another call goes on.

    Raises `ConfigError` when a name is taken.
    """
    require_names(tables)
    quote = connection.dialect.identifier_preparer.quote
    pairs = [(quote(known), quote(_aside_name(known))) for known in tables.in_place.values()]
    if not pairs:
        return
    if connection.dialect.name == "postgresql":
        for known, new in pairs:
            connection.execute(text(f"ALTER TABLE {known} RENAME TO {new}"))
    else:  # one after the other; what a crash leaves is told by the landmark, which is the last
        connection.execute(text("RENAME TABLE " + ", ".join(f"{known} TO {new}" for known, new in pairs)))
    _log.info("WSO2's tables are set aside", tables=len(pairs), names=f"{ASIDE}MB_…")


def _aside_name(known: str) -> str:
    return (ASIDE if known.isupper() else ASIDE.lower()) + known
