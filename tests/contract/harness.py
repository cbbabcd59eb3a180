"""A store under test that can be restarted, and messages to put into it.

Knows the ports; the makers at the end know the implementations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.codec.expiration import note_due
from broker.config.connection_options import connection_options
from broker.config.datasources import PoolConfiguration
from broker.message import WRITING, Message, body_tails, tail
from broker.ports.slot import Slot
from broker.ports.store import Batch, Registration, Store
from broker.store.memory.store import MemoryState, MemoryStore
from broker.store.server.mysql import MySql
from broker.store.server.opening import server_store
from broker.store.server.own_connection import OwnConnection
from broker.store.server.postgresql import PostgreSql
from broker.store.sql.schema import metadata
from broker.store.sqlite.store import SqliteStore
from tests.support.databases import DatabaseServer

NODE = "node-a"
LATEST = (1 << 63) - 1


@dataclass
class Queue:
    queue_id: int
    is_stream: bool = False


ORDERS = Queue(7)
INVOICES = Queue(8)


@dataclass
class Harness:
    """`store` is open, `registration` its answer to the node, and `make` gives another store over the same data."""

    make: Callable[[], Store]
    store: Store
    registration: Registration

    @classmethod
    async def start(cls, make: Callable[[], Store]) -> Harness:
        store = make()
        await store.open()
        return cls(make, store, await store.register(NODE))

    async def restart(self, node_id: str = NODE) -> Registration:
        """Stop in order and start again."""
        await self.store.resign()
        return await self.crash(node_id)

    async def crash(self, node_id: str = NODE) -> Registration:
        """Start again without having resigned."""
        await self.store.close()
        self.store = self.make()
        await self.store.open()
        self.registration = await self.store.register(node_id)
        return self.registration

    async def insert(self, *messages: Message) -> None:
        await self.store.write(Batch(inserts=list(messages), high_water=max(message.id for message in messages)))

    async def delete(self, *messages: Message) -> None:
        await self.store.write(Batch(deletes=list(messages)))

    async def read(self, queue: Queue = ORDERS, *, transient: bool = False, limit: int = 1000) -> list[Message]:
        """Read the start of all that the queue has on lane 0."""
        whole = Slot(queue.queue_id, 0, 0, LATEST, 0, transient=transient)
        return await self.store.read(queue, whole, limit, 1 << 30)

    async def ids(self, queue: Queue = ORDERS, *, transient: bool = False) -> list[int]:
        return [message.id for message in await self.read(queue, transient=transient)]


def message(
    message_id: int,
    queue: Queue = ORDERS,
    body: bytes = b"hello",
    *,
    state: int = WRITING,
    content_id: int = 0,
    frame_max: int = 131_072,
    routing: bytes = b"\x05sales\x03new",
    properties: bytes = b"\x10\x00\x02",
) -> Message:
    """Return a message whose header carries its body's size, as a publisher sends it; `properties` begin with flags."""
    header = tail(b"\x00\x3c\x00\x00" + len(body).to_bytes(8, "big") + properties)
    made = Message(message_id, queue, routing, header, *body_tails(body, frame_max), state)
    made.content_id = content_id
    return made


def expiring(message_id: int, ttl: int, queue: Queue = ORDERS, body: bytes = b"hello", **options: Any) -> Message:
    """Return a message that expires `ttl` milliseconds after the time in its id."""
    text = str(ttl).encode()
    properties = b"\x01\x00" + bytes([len(text)]) + text
    made = message(message_id, queue, body, properties=properties, **options)
    note_due(made)
    return made


def server_maker(server: DatabaseServer, database: str, *, is_shared: bool = False) -> Callable[[], Store]:
    pool = PoolConfiguration(url=server.jdbc_url(database))
    return lambda: server_store(pool, is_shared=is_shared)


def own_connection(
    server: DatabaseServer, database: str, deadline: float = 10.0, *, port: int | None = None
) -> OwnConnection:
    """Return a connection past the lock that keeps a second broker out; `port` is that of a proxy."""
    url = PoolConfiguration(url=server.jdbc_url(database, port=port)).store_url
    options, _ = connection_options(url)
    return OwnConnection(MySql(url, options) if url.engine == "mysql" else PostgreSql(url, options), deadline)


def empty(server: DatabaseServer, database: str) -> None:
    """Delete every row the broker has made, but not its schema nor the rows that come with it."""
    mark = "`" if server.kind == "mariadb" else '"'
    script = "BEGIN;" + "".join(f"DELETE FROM {mark}{table}{mark};" for table in metadata.tables)
    for table, counters in (("MB_COORDINATOR_HEARTBEAT", "BEAT,LAST_HEARTBEAT"), ("MB_COORDINATOR_FENCE", "SEQUENCE")):
        columns = f"ANCHOR,EPOCH,TERM,{counters}".replace(",", f"{mark},{mark}")
        values = f"1,0,''{',0' * len(counters.split(','))}"
        script += f"INSERT INTO {mark}{table}{mark} ({mark}{columns}{mark}) VALUES ({values});"
    head = f"{mark}ANCHOR{mark},{mark}EVENT_ID{mark},{mark}TOKEN{mark}"
    script += f"INSERT INTO {mark}MB_CLUSTER_EVENT_HEAD{mark} ({head}) VALUES (1,0,'');"
    script += "COMMIT;"
    server.sql(script, database)


def memory_maker(_: Path, *, is_shared: bool = False) -> Callable[[], Store]:
    state = MemoryState()
    return lambda: MemoryStore(state, is_shared=is_shared)


def sqlite_maker(directory: Path) -> Callable[[], Store]:
    return lambda: SqliteStore(directory / "data" / "mb.db")
