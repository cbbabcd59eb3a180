"""What is recorded, in its tables: plain functions over a connection, for every dialect.

`TABLES` says where each kind of record lies; all else is the same for every kind. Knows SQLAlchemy Core; knows no
driver. The caller holds the transaction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby
from typing import Any, Final, get_origin

import structlog
from sqlalchemy import ColumnElement, Connection, Select, Table, and_, delete, insert, or_, select, true, update

from broker.codec.field_table import FieldTable
from broker.errors import BrokerError
from broker.ports.kinds import KINDS, Condition, Kind, Kinds, Reference, field_names
from broker.ports.levels import highest_level, storage_ids
from broker.ports.records import (
    BindingRecord,
    Change,
    Drop,
    ExchangeRecord,
    GlobalParameterRecord,
    PermissionRecord,
    PolicyRecord,
    Put,
    QueueKey,
    QueueRecord,
    Record,
    SubscriptionRecord,
    TopicPermissionRecord,
    Topology,
    UserRecord,
    VirtualHostRecord,
    VirtualHostSettingsRecord,
)
from broker.store.sql.branches import forget_branches
from broker.store.sql.keys import forget_keys_of_exchanges, forget_scopes
from broker.store.sql.messages import delete_queue_messages
from broker.store.sql.schema import (
    BINDING,
    EXCHANGE,
    GLOBAL_PARAMETER,
    PERMISSION,
    POLICY,
    QUEUE,
    SLOT,
    SUBSCRIPTION,
    TOPIC_PERMISSION,
    USER,
    VIRTUAL_HOST,
    VIRTUAL_HOST_SETTINGS,
)
from broker.store.sql.streams import delete_streams

_log = structlog.get_logger(__name__)

_SHOWN: Final = 300
"""Characters of a damaged record in the log."""
_ROWS_PER_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class KindTable:
    """The table of a kind, whose records are loaded in the order of its primary key.

    `columns` are those that are not called like their field. `digest` is a column with a hash of the key, where that is
    longer than an index may be. `on_drop` deletes what lies in other tables.
    """

    table: Table
    columns: Mapping[str, str] = field(default_factory=dict)
    digest: str = ""
    on_drop: Callable[[Connection, Sequence[Any]], None] | None = None

    def column(self, name: str) -> Any:
        """Return the column of a field."""
        return self.table.c[self.columns.get(name, name)]

    def values(self, names: Iterable[str], record: Record) -> dict[str, Any]:
        """Return columns and values of these fields of a record or key."""
        return {self.columns.get(name, name): getattr(record, name) for name in names}

    def has(self, condition: Condition) -> ColumnElement[bool]:
        """Return what is true of rows that meet the condition."""
        return and_(true(), *(self.column(name) == value for name, value in condition.items()))

    def has_any(self, names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> Iterator[ColumnElement[bool]]:
        """Yield conditions, one of which is true of a row that has one of these tuples of values in these fields.

        The column that differs most is looked up in a list and the others are equal, because MariaDB looks up no tuples
        by an index.
        """
        if not rows:
            return
        listed = max(range(len(names)), key=lambda place: len({row[place] for row in rows}))
        lists: dict[tuple[Any, ...], dict[Any, None]] = {}
        for row in rows:
            lists.setdefault(row[:listed] + row[listed + 1 :], {})[row[listed]] = None
        others = [name for name in names if name != names[listed]]
        for equal, values in lists.items():
            yield self.has(dict(zip(others, equal, strict=True))) & self.column(names[listed]).in_(list(values))


def _delete_content(connection: Connection, keys: Sequence[QueueKey]) -> None:
    """Delete what lies in queues; slots before messages, as everybody locks them."""
    ids = [key.queue_id for key in keys]
    rows = connection.execute(select(QUEUE.c.queue_id, QUEUE.c.arguments).where(QUEUE.c.queue_id.in_(ids)))
    highest = {queue_id: _highest_level(arguments) for queue_id, arguments in rows}
    queue_ids = [level for each in ids for level in storage_ids(each, highest.get(each, 0))]
    connection.execute(delete(SLOT).where(SLOT.c.queue_id.in_(queue_ids)))
    delete_queue_messages(connection, queue_ids)
    forget_scopes(connection, ids)
    delete_streams(connection, ids)


def _highest_level(arguments: bytes) -> int:
    """Return the highest level of a recorded queue; one whose arguments cannot be read has no other."""
    if b"x-max-priority" not in arguments:
        return 0
    try:
        return highest_level(FieldTable(arguments).values)
    except BrokerError:
        return 0


_PATTERNS: Final = {name: f"{name}_pattern" for name in ("configure", "write", "read")}

Tables = Mapping[type[Any], KindTable]

TABLES: Final[Tables] = {
    VirtualHostRecord: KindTable(
        VIRTUAL_HOST,
        {"name": "vhost"},
        on_drop=lambda connection, keys: forget_branches(connection, [key.name for key in keys]),
    ),
    ExchangeRecord: KindTable(
        EXCHANGE, {"name": "exchange_name", "type": "exchange_type"}, on_drop=forget_keys_of_exchanges
    ),
    QueueRecord: KindTable(QUEUE, {"name": "queue_name"}, on_drop=_delete_content),
    BindingRecord: KindTable(BINDING, digest="binding_hash"),
    SubscriptionRecord: KindTable(SUBSCRIPTION),
    UserRecord: KindTable(USER, {"name": "user_name"}),
    PermissionRecord: KindTable(PERMISSION, _PATTERNS | {"user": "user_name"}),
    TopicPermissionRecord: KindTable(
        TOPIC_PERMISSION,
        _PATTERNS | {"user": "user_name", "exchange": "exchange_name"},
        digest="permission_hash",
    ),
    VirtualHostSettingsRecord: KindTable(VIRTUAL_HOST_SETTINGS),
    PolicyRecord: KindTable(POLICY, {"name": "policy_name"}),
    GlobalParameterRecord: KindTable(GLOBAL_PARAMETER, {"name": "parameter_name", "value": "parameter_value"}),
}


class TopologyTables:
    """The records of all kinds in their tables."""

    def __init__(self, kinds: Kinds = KINDS, tables: Tables = TABLES) -> None:
        self._kinds = kinds
        self._tables = tables

    def load(self, connection: Connection) -> Topology:
        """Return all that is recorded, read in pages: an event loop gets on with other work between them, and the
        server never waits for long in the transaction for a client that is slow to take so many rows.
        """
        return Topology(record for kind in self._kinds for record in self._load(connection, kind))

    def _load(self, connection: Connection, kind: Kind) -> Iterable[Record]:
        here = self._tables[kind.record]
        columns = [here.column(name) for name in field_names(kind.record)]
        wanted = select(*columns)
        expected = tuple(str if get_origin(hint) else hint for hint in self._kinds.types_of(kind.record).values())

        def is_sound(row: Sequence[Any]) -> bool:
            values = row[: len(columns)]
            return tuple(map(type, values)) == expected and all(map(_is_text, values))

        for row in _in_pages(connection, wanted, list(here.table.primary_key.columns), is_sound):
            values = row[: len(columns)]
            if is_sound(row):
                yield kind.record(*values)
            else:
                _log.error("a damaged record is left alone", table=here.table.name, values=ascii(values)[:_SHOWN])

    def record(self, connection: Connection, changes: Sequence[Change]) -> None:
        """Write `changes` in their order; changes of one kind that follow each other share their statements."""
        for (is_put, kind), run in groupby(changes, lambda change: (isinstance(change, Put), self._kinds.of(change))):
            if is_put:
                self._put(connection, kind, [change.record for change in run if isinstance(change, Put)])
            else:
                self._drop(connection, kind, [change.key for change in run if isinstance(change, Drop)])

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

    def _put(self, connection: Connection, kind: Kind, records: Sequence[Record]) -> None:
        """Insert records. Where there is one already, that stays, or is replaced."""
        here, names = self._tables[kind.record], field_names(kind.record)
        found = self._found(connection, kind, records)
        new: dict[tuple[Any, ...], Record] = {}
        for record in records:
            unique = kind.unique_of(record)
            if unique not in found:
                if unique not in new or kind.is_replaced:
                    new[unique] = record
            elif kind.is_replaced and found[unique] == kind.key_of(record):
                for same in self._same(kind, [record]):
                    connection.execute(update(here.table).where(same).values(here.values(names, record)))
        if new:
            rows = [self._digest(kind, record) | here.values(names, record) for record in new.values()]
            connection.execute(insert(here.table), rows)

    def _drop(self, connection: Connection, kind: Kind, keys: Sequence[Record]) -> None:
        """Delete the records with these keys and all that refers to them."""
        here = self._tables[kind.record]
        if here.on_drop is not None:
            here.on_drop(connection, keys)
        found = self._found(connection, kind, keys)
        there = [key for key in keys if found.get(kind.unique_of(key)) == key]
        others = [name for name in field_names(kind.key) if name not in kind.unique]
        for same in self._same(kind, there):
            is_it = [here.column(name).in_([getattr(key, name) for key in there]) for name in others]
            connection.execute(delete(here.table).where(same, *is_it))
        for other, reference in self._kinds.referring_to(kind):
            gone = keys
            if set(reference.fields) <= set(kind.unique):  # what refers to a name may refer to another record
                gone = [key for key in keys if found.get(kind.unique_of(key), key) == key]
            for refers in self._refers(other, reference, gone):
                self._drop_all(connection, other, refers)

    def _drop_all(self, connection: Connection, kind: Kind, which: ColumnElement[bool]) -> None:
        here = self._tables[kind.record]
        if here.on_drop is None and not self._kinds.referring_to(kind):
            connection.execute(delete(here.table).where(which))
            return
        columns = [here.column(name) for name in field_names(kind.key)]
        keys = [kind.key(*row) for row in connection.execute(select(*columns).where(which))]
        if keys:
            self._drop(connection, kind, keys)

    def _found(self, connection: Connection, kind: Kind, values: Sequence[Record]) -> dict[tuple[Any, ...], Record]:
        """Return the keys of the records that are there under the names of these records or keys, by name."""
        here = self._tables[kind.record]
        columns = [here.column(name) for name in field_names(kind.key)]
        rows = chain.from_iterable(
            connection.execute(select(*columns).where(same)).all() for same in self._same(kind, values)
        )
        return {kind.unique_of(key): key for key in (kind.key(*row) for row in rows)}

    def _same(self, kind: Kind, values: Sequence[Record]) -> Iterator[ColumnElement[bool]]:
        """Yield what is true of the rows under the names of these records or keys."""
        here = self._tables[kind.record]
        if here.digest:
            digests = [digest_of(kind.unique_of(value)) for value in values]
            return iter([here.table.c[here.digest].in_(digests)] if digests else [])
        return here.has_any(kind.unique, [kind.unique_of(value) for value in values])

    def _digest(self, kind: Kind, record: Record) -> dict[str, str]:
        digest = self._tables[kind.record].digest
        return {digest: digest_of(kind.unique_of(record))} if digest else {}

    def _refers(self, kind: Kind, reference: Reference, keys: Sequence[Record]) -> Iterator[ColumnElement[bool]]:
        """Yield what is true of the rows that refer to the records with these keys."""
        here = self._tables[kind.record]
        wanted = [tuple(getattr(key, target) for target in reference.fields) for key in keys]
        for refers in here.has_any(tuple(reference.fields.values()), wanted):
            yield refers & here.has(reference.when)


def _in_pages(
    connection: Connection, wanted: Select[Any], key: Sequence[Any], is_sound: Callable[[Sequence[Any]], bool]
) -> Iterator[tuple[Any, ...]]:
    """Yield the rows in the order of the columns `key`, whose values are added to them; read page after page.

    From a page that cannot be read, or that ends with a row that is not sound, the rest is read at once.
    """
    in_order = wanted.add_columns(*key).order_by(*key)
    rest, is_end = in_order, False
    while not is_end:
        try:
            rows = [tuple(row) for row in connection.execute(rest.limit(_ROWS_PER_PAGE))]
        except (TypeError, ValueError):
            rows = []
            is_end = True
        is_page = len(rows) == _ROWS_PER_PAGE
        if is_end or (is_page and not is_sound(rows[-1])):
            yield from _one_by_one(connection, rest)
            return
        yield from rows
        is_end = not is_page
        if is_page:
            rest = in_order.where(_is_after(key, rows[-1][-len(key) :]))


def _one_by_one(connection: Connection, wanted: Select[Any]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows whose values have the types of their columns; log how many others there are."""
    result, damaged = connection.execute(wanted), 0
    while True:
        try:
            row = result.fetchone()
        except (TypeError, ValueError):
            damaged += 1
            continue
        if row is None:
            break
        yield tuple(row)
    _log.error("damaged records are left alone", table=str(wanted.get_final_froms()[0]), count=damaged)


def _is_text(value: Any) -> bool:
    """Return False for a text that no client can have sent: its octets were not UTF-8."""
    if type(value) is not str or value.isascii():
        return True
    return not any("\ud800" <= character <= "\udfff" for character in value)


TOPOLOGY: Final = TopologyTables()


def _is_after(key: Sequence[Any], values: Sequence[Any]) -> ColumnElement[bool]:
    """Return what is true of rows that follow the one with these values, in the order of the columns `key`."""
    return or_(
        *(
            and_(*(same == value for same, value in zip(key[:place], values[:place], strict=True)), key[place] > last)
            for place, last in enumerate(values)
        )
    )


def digest_of(values: Iterable[str | bytes]) -> str:
    """Return one value for all of these; each goes in with its length, so that none runs over."""
    digest = hashlib.sha256()
    for value in values:
        octets = value.encode() if isinstance(value, str) else value
        digest.update(len(octets).to_bytes(4, "big") + octets)
    return digest.hexdigest()
