"""What a database of WSO2's message broker holds, and whether this broker may make its schema there."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, TypeVar

from sqlalchemy import Connection, func, select

from broker.errors import ConfigError
from broker.ports.names import DEAD_LETTER_CHANNEL
from broker.store.wso2 import progress
from broker.store.wso2.encoding import StoredBinding, StoredExchange, StoredQueue
from broker.store.wso2.tables import Tables, find, require_names, set_aside

T = TypeVar("T")

COMMAND: Final = "python -m broker migrate --from-wso2 --config broker.xml"
_SUBSCRIPTION: Final = "carbon:"
_OWN_ROUTERS: Final = frozenset(
    ("", "<<default>>", "amq.direct", "amq.topic", "amq.dlc", "amq.fanout", "amq.match", "amq.headers")
)
"""Exchanges that WSO2 makes at its first start."""
_NOT_LASTING: Final = ("amqp_topic_", "mqtt_topic_")
"""What the names of storage queues begin with that end with the last subscriber of a topic."""


@dataclass(frozen=True, slots=True)
class Definitions:
    """Queues, exchanges and bindings, as far as they can be read."""

    queues: tuple[StoredQueue, ...]
    routers: tuple[StoredExchange, ...]
    bindings: tuple[StoredBinding, ...]
    unread: tuple[str, ...]
    """What cannot be read, each with its reason."""

    @property
    def lasting(self) -> list[StoredQueue]:
        """Return the queues that are to be kept: those that last, without dead letter channels."""
        return [queue for queue in self.queues if queue.is_durable and not is_channel(queue.name)]

    @property
    def subscriptions(self) -> set[str]:
        """Return the names of the queues that are durable subscriptions."""
        return {queue.name for queue in self.lasting if queue.is_exclusive or is_subscription(queue.name)}

    @property
    def own_routers(self) -> list[StoredExchange]:
        """Return the exchanges that a client or administrator has made."""
        return [router for router in self.routers if router.name not in _OWN_ROUTERS]


@dataclass(frozen=True, slots=True)
class Found:
    """How much of everything there is."""

    queues: int
    subscriptions: int
    exchanges: int
    messages: int
    """All messages of queues and subscriptions, dead letters too."""
    dead: int
    retained: int
    branches: int

    @property
    def is_empty(self) -> bool:
        """Would nothing be lost without the tables?"""
        return not (self.queues + self.subscriptions + self.exchanges + self.messages + self.retained + self.branches)

    def __str__(self) -> str:
        parts = [counted(self.queues, "queue"), counted(self.subscriptions, "durable subscription")]
        parts += [counted(self.exchanges, "exchange")] * bool(self.exchanges)
        dead = f" (of them {self.dead} dead)" if self.dead else ""
        parts.append(counted(self.messages, "message") + dead)
        parts += [counted(self.retained, "retained message")] * bool(self.retained)
        parts += [counted(self.branches, "prepared transaction")] * bool(self.branches)
        return ", ".join(parts)


def counted(number: int, what: str) -> str:
    """Return `1 queue`, `2 queues`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def is_channel(queue: str) -> bool:
    """Is a queue a dead letter channel, of a tenant's perhaps?"""
    return queue.rpartition("/")[2].lower() == DEAD_LETTER_CHANNEL


def is_subscription(queue: str) -> bool:
    """Does WSO2's client call a queue like this for a durable subscription?"""
    return queue.lower().startswith(_SUBSCRIPTION)


def ends_with_subscribers(queue: str) -> bool:
    """Is a storage queue one that WSO2 makes for the subscribers of a topic who are there?"""
    return queue.lower().startswith(_NOT_LASTING)


def definitions(connection: Connection, tables: Tables) -> Definitions:
    """Return the queues, exchanges and bindings."""
    unread: list[str] = []
    queues = _read(connection, tables, "MB_QUEUE", "queue_data", StoredQueue.parse, unread)
    routers = _read(connection, tables, "MB_EXCHANGE", "exchange_data", StoredExchange.parse, unread)
    bindings = _read(connection, tables, "MB_BINDING", "binding_details", StoredBinding.parse, unread)
    return Definitions(tuple(queues), tuple(routers), tuple(dict.fromkeys(bindings)), tuple(unread))


def _read(
    connection: Connection, tables: Tables, name: str, data: str, parse: Callable[[str], T], unread: list[str]
) -> list[T]:
    found = list[T]()
    rows = tables[name]
    for value in connection.scalars(select(rows.c[data]).order_by(rows.c[data])):
        try:
            found.append(parse(value))
        except ValueError as error:
            unread.append(f"{name}: {error}")
    return found


def survey(connection: Connection, tables: Tables) -> Found:
    """Count what there is."""
    known = definitions(connection, tables)
    subscriptions = known.subscriptions
    rows = tables["MB_METADATA"]
    dead = connection.scalar(select(func.count()).select_from(rows).where(rows.c.dlc_queue_id != -1)) or 0
    return Found(
        queues=len(known.lasting) - len(subscriptions) + len(known.unread),
        subscriptions=len(subscriptions),
        exchanges=len(known.own_routers),
        messages=count(connection, tables, "MB_METADATA"),
        dead=dead,
        retained=count(connection, tables, "MB_RETAINED_METADATA"),
        branches=count(connection, tables, "MB_DTX_XID"),
    )


def count(connection: Connection, tables: Tables, name: str) -> int:
    """Return how many rows a table has; none if it is not there."""
    if name not in tables:
        return 0
    return connection.scalar(select(func.count()).select_from(tables[name])) or 0


# Whether this broker may make its schema


def make_way(connection: Connection, *, is_new: bool) -> None:
    """Let this broker have the database: set tables of WSO2's aside in which nothing is.

    `is_new`: this broker has no schema there yet. Raises `ConfigError` when something would be lost: what of WSO2's is
    there is not moved yet, or not all of it. Nothing has been changed then.
    """
    tables = find(connection)
    if require_way(connection, tables, is_new=is_new):
        set_aside(connection, tables)


def require_way(connection: Connection, tables: Tables, *, is_new: bool) -> bool:
    """Return whether tables are to be set aside before this broker can have the database. Changes nothing.

    Raises `ConfigError` as `make_way` does.
    """
    if tables.has_progress:
        _require_done(progress.unfinished(connection))
    if is_new and tables.in_place:
        _require_empty(connection, tables)
        require_names(tables)
        return True
    if tables.aside and not (tables.has_progress and progress.is_done(connection, progress.HERE)):
        _require_empty(connection, tables)
    return False


def make_way_for_import(connection: Connection, *, is_new: bool) -> None:
    """Likewise for an import from these tables: they are set aside, whatever is in them."""
    set_aside(connection, find(connection))


def make_way_for_import_from_elsewhere(connection: Connection, *, is_new: bool) -> None:
    """Likewise for an import from another database, finished or not."""
    tables = find(connection)
    if is_new and tables.in_place:
        _require_empty(connection, tables)
        set_aside(connection, tables)


def _require_empty(connection: Connection, tables: Tables) -> None:
    if missing := tables.missing:
        raise ConfigError(
            f"the database has some tables of WSO2's message broker, but not {', '.join(missing)}:"
            " drop them, or choose another dataSource"
        )
    found = survey(connection, tables)
    if not found.is_empty:
        raise ConfigError(
            f"the database is one of WSO2's message broker with {found}: stop its nodes and move that with"
            f" '{COMMAND}', or choose another dataSource"
        )


def _require_done(unfinished: Collection[str]) -> None:
    for source in unfinished:
        where = "" if source == progress.HERE else f" from {source}"
        raise ConfigError(
            f"what WSO2's message broker left{where} is moved here only in part: run '{COMMAND}' again to its end"
        )
