"""What is recorded, in its tables: plain functions over a connection, for every dialect.

`TABLES` says where each kind of record lies; all else is the same for every kind. Knows SQLAlchemy Core; knows no
driver. The caller holds the transaction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, insert, or_, select, true, update

from broker.ports.kinds import KINDS, Condition, Kind, Kinds, Reference, field_names
from broker.ports.records import (
    BindingRecord,
    Change,
    Drop,
    ExchangeRecord,
    Put,
    QueueKey,
    QueueRecord,
    Record,
    SubscriptionRecord,
    Topology,
    VirtualHostRecord,
)
from broker.store.sql.messages import delete_queue_messages
from broker.store.sql.schema import BINDING, EXCHANGE, QUEUE, SLOT, SUBSCRIPTION, VIRTUAL_HOST


@dataclass(frozen=True, slots=True)
class KindTable:
    """The table of a kind, whose records are loaded in the order of its primary key.

    `columns` are those that are not called like their field. `digest` is a column with a hash of the key, where that is
    longer than an index may be. `on_drop` deletes what lies in other tables.
    """

    table: Table
    columns: Mapping[str, str] = field(default_factory=dict)
    digest: str = ""
    on_drop: Callable[[Connection, Any], None] | None = None

    def column(self, name: str) -> Any:
        """Return the column of a field."""
        return self.table.c[self.columns.get(name, name)]

    def values(self, names: Iterable[str], record: Record) -> dict[str, Any]:
        """Return columns and values of these fields of a record or key."""
        return {self.columns.get(name, name): getattr(record, name) for name in names}

    def has(self, condition: Condition) -> ColumnElement[bool]:
        """Return what is true of rows that meet the condition."""
        return and_(true(), *(self.column(name) == value for name, value in condition.items()))


def _delete_content(connection: Connection, key: QueueKey) -> None:
    """Delete what lies in a queue; slots before messages, as everybody locks them."""
    connection.execute(delete(SLOT).where(SLOT.c.queue_id == key.queue_id))
    delete_queue_messages(connection, key.queue_id)


Tables = Mapping[type[Any], KindTable]

TABLES: Final[Tables] = {
    VirtualHostRecord: KindTable(VIRTUAL_HOST, {"name": "vhost"}),
    ExchangeRecord: KindTable(EXCHANGE, {"name": "exchange_name", "type": "exchange_type"}),
    QueueRecord: KindTable(QUEUE, {"name": "queue_name"}, on_drop=_delete_content),
    BindingRecord: KindTable(BINDING, digest="binding_hash"),
    SubscriptionRecord: KindTable(SUBSCRIPTION),
}


class TopologyTables:
    """The records of all kinds in their tables."""

    def __init__(self, kinds: Kinds = KINDS, tables: Tables = TABLES) -> None:
        self._kinds = kinds
        self._tables = tables

    def load(self, connection: Connection) -> Topology:
        """Return all that is recorded."""
        return Topology(record for kind in self._kinds for record in self._load(connection, kind))

    def _load(self, connection: Connection, kind: Kind) -> Iterable[Record]:
        here = self._tables[kind.record]
        columns = [here.column(name) for name in field_names(kind.record)]
        rows = connection.execute(select(*columns).order_by(*here.table.primary_key.columns))
        return (kind.record(*row) for row in rows)

    def record(self, connection: Connection, changes: Sequence[Change]) -> None:
        """Write `changes` in their order."""
        for change in changes:
            kind = self._kinds.of(change)
            if isinstance(change, Put):
                self._put(connection, kind, change.record)
            else:
                self._drop(connection, kind, change.key)

    def deletes_messages(self, changes: Iterable[Change]) -> bool:
        """May writing `changes` take long, because of what lies in other tables?"""
        return any(isinstance(change, Drop) and self._holds_messages(self._kinds.of(change)) for change in changes)

    def _holds_messages(self, kind: Kind) -> bool:
        if self._tables[kind.record].on_drop is not None:
            return True
        return any(self._holds_messages(other) for other, _ in self._kinds.referring_to(kind))

    def delete_mortal(self, connection: Connection) -> None:
        """Delete what lives no longer than the nodes that know it."""
        for kind in self._kinds:
            if kind.mortal:
                self._drop_all(connection, kind, or_(*map(self._tables[kind.record].has, kind.mortal)))

    def _put(self, connection: Connection, kind: Kind, record: Record) -> None:
        """Insert a record unless there is one already: then that stays, or is replaced."""
        here = self._tables[kind.record]
        values = here.values(field_names(kind.record), record)
        if self._found(connection, kind, record) is None:
            digest = {here.digest: digest_of(kind.unique_of(record))} if here.digest else {}
            connection.execute(insert(here.table).values(digest | values))
        elif kind.is_replaced:
            connection.execute(update(here.table).where(self._same(kind, record, kind.unique)).values(values))

    def _drop(self, connection: Connection, kind: Kind, key: Record) -> None:
        """Delete the record with this key and all that refers to it."""
        here = self._tables[kind.record]
        if here.on_drop is not None:
            here.on_drop(connection, key)
        is_it = self._same(kind, key, field_names(kind.key))
        is_there = connection.execute(delete(here.table).where(is_it)).rowcount > 0
        is_another = not is_there and self._found(connection, kind, key) is not None
        for other, reference in self._kinds.referring_to(kind):
            if is_another and set(reference.fields) <= set(kind.unique):
                continue  # what refers to this name refers to another record
            self._drop_all(connection, other, self._refers(other, reference, key))

    def _drop_all(self, connection: Connection, kind: Kind, which: ColumnElement[bool]) -> None:
        here = self._tables[kind.record]
        if here.on_drop is None and not self._kinds.referring_to(kind):
            connection.execute(delete(here.table).where(which))
            return
        columns = [here.column(name) for name in field_names(kind.key)]
        for row in connection.execute(select(*columns).where(which)).all():
            self._drop(connection, kind, kind.key(*row))

    def _found(self, connection: Connection, kind: Kind, value: Record) -> Record | None:
        """Return the key of the record that is there under the name of this one."""
        here = self._tables[kind.record]
        columns = [here.column(name) for name in field_names(kind.key)]
        row = connection.execute(select(*columns).where(self._same(kind, value, kind.unique))).first()
        return None if row is None else kind.key(*row)

    def _same(self, kind: Kind, value: Record, names: Sequence[str]) -> ColumnElement[bool]:
        """Return what is true of rows that are equal to a record or key in these fields."""
        here = self._tables[kind.record]
        if here.digest:
            return here.table.c[here.digest] == digest_of(kind.unique_of(value))
        return here.has({name: getattr(value, name) for name in names})

    def _refers(self, kind: Kind, reference: Reference, key: Record) -> ColumnElement[bool]:
        """Return what is true of rows that refer to the record with this key."""
        values = {name: getattr(key, target) for target, name in reference.fields.items()}
        return self._tables[kind.record].has(values | dict(reference.when))


TOPOLOGY: Final = TopologyTables()


def digest_of(values: Iterable[str | bytes]) -> str:
    """Return one value for all of these; each goes in with its length, so that none runs over."""
    digest = hashlib.sha256()
    for value in values:
        octets = value.encode() if isinstance(value, str) else value
        digest.update(len(octets).to_bytes(4, "big") + octets)
    return digest.hexdigest()
