"""A database as WSO2's message broker leaves it: the tables of andes §2.3, and what its nodes write into them.

Knows the rows, octets and texts of WSO2's broker; must not know the importer, nor this broker's schema.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from broker.codec.field_table import FieldTable
from broker.codec.properties import BasicProperties, encode_header
from broker.config.datasources import PoolConfiguration
from tests.support.databases import DatabaseServer

LIVE: Final = -1
DLC: Final = "deadletterchannel"
EPOCH_MS: Final = 1_292_976_000_000
CHUNK: Final = 65_500

# id and time: ID, TIME; a small integer that counts itself: SERIAL; a large one: BIGSERIAL; name: 512 characters; text:
# 2048; octets: BLOB, OCTETS, XID. `!` ends those that may not be null. Then keys.
_TABLES: Final = """
MB_QUEUE_MAPPING: QUEUE_ID SERIAL, QUEUE_NAME NAME!, UNIQUE (QUEUE_NAME), PRIMARY KEY (QUEUE_ID{, QUEUE_NAME})
MB_METADATA: MESSAGE_ID ID, QUEUE_ID INTEGER, DLC_QUEUE_ID INTEGER!, MESSAGE_METADATA BLOB!,
  PRIMARY KEY (MESSAGE_ID{, QUEUE_ID}), FOREIGN KEY (QUEUE_ID) REFERENCES MB_QUEUE_MAPPING (QUEUE_ID)
MB_CONTENT: MESSAGE_ID ID, CONTENT_OFFSET INTEGER, MESSAGE_CONTENT BLOB!, PRIMARY KEY (MESSAGE_ID, CONTENT_OFFSET),
  FOREIGN KEY (MESSAGE_ID) REFERENCES MB_METADATA (MESSAGE_ID) ON DELETE CASCADE
MB_EXPIRATION_DATA: MESSAGE_ID ID, EXPIRATION_TIME TIME, DLC_QUEUE_ID INTEGER!, MESSAGE_DESTINATION NAME!,
  UNIQUE (MESSAGE_ID), FOREIGN KEY (MESSAGE_ID) REFERENCES MB_METADATA (MESSAGE_ID) ON DELETE CASCADE
MB_RETAINED_METADATA: TOPIC_ID INTEGER, TOPIC_NAME NAME!, MESSAGE_ID ID!, MESSAGE_METADATA OCTETS!,
  PRIMARY KEY (TOPIC_ID)
MB_RETAINED_CONTENT: MESSAGE_ID ID, CONTENT_OFFSET INTEGER, MESSAGE_CONTENT BLOB!,
  PRIMARY KEY (MESSAGE_ID, CONTENT_OFFSET)
MB_DTX_XID: INTERNAL_XID ID!, NODE_ID NAME!, FORMAT_CODE ID!, GLOBAL_ID XID, BRANCH_ID XID, UNIQUE (INTERNAL_XID),
  PRIMARY KEY (INTERNAL_XID, NODE_ID)
MB_DTX_ENQUEUE_RECORD: INTERNAL_XID ID!, MESSAGE_ID ID!, MESSAGE_METADATA OCTETS!, PRIMARY KEY (MESSAGE_ID),
  FOREIGN KEY (INTERNAL_XID) REFERENCES MB_DTX_XID (INTERNAL_XID) ON DELETE CASCADE
MB_DTX_DEQUEUE_RECORD: INTERNAL_XID ID!, MESSAGE_ID ID!, QUEUE_NAME NAME!, MESSAGE_METADATA OCTETS!,
  PRIMARY KEY (MESSAGE_ID), FOREIGN KEY (INTERNAL_XID) REFERENCES MB_DTX_XID (INTERNAL_XID) ON DELETE CASCADE
MB_DTX_ENQUEUE_CONTENT: INTERNAL_XID ID!, MESSAGE_ID ID!, CONTENT_OFFSET INTEGER!, MESSAGE_CONTENT BLOB!,
  PRIMARY KEY (MESSAGE_ID, CONTENT_OFFSET),
  FOREIGN KEY (MESSAGE_ID) REFERENCES MB_DTX_ENQUEUE_RECORD (MESSAGE_ID) ON DELETE CASCADE
MB_DTX_DEQUEUE_CONTENT: INTERNAL_XID ID!, MESSAGE_ID ID!, CONTENT_OFFSET INTEGER!, MESSAGE_CONTENT BLOB!,
  PRIMARY KEY (MESSAGE_ID, CONTENT_OFFSET),
  FOREIGN KEY (MESSAGE_ID) REFERENCES MB_DTX_DEQUEUE_RECORD (MESSAGE_ID) ON DELETE CASCADE
MB_DURABLE_SUBSCRIPTION: SUBSCRIPTION_ID NAME!, DESTINATION_IDENTIFIER NAME!, SUBSCRIPTION_DATA TEXT!
MB_NODE: NODE_ID NAME!, NODE_DATA TEXT!, PRIMARY KEY (NODE_ID)
MB_EXCHANGE: EXCHANGE_NAME NAME!, EXCHANGE_DATA TEXT!, PRIMARY KEY (EXCHANGE_NAME)
MB_QUEUE: QUEUE_NAME NAME!, QUEUE_DATA TEXT!, PRIMARY KEY (QUEUE_NAME)
MB_BINDING: EXCHANGE_NAME NAME!, QUEUE_NAME NAME!, BINDING_DETAILS TEXT!,
  FOREIGN KEY (EXCHANGE_NAME) REFERENCES MB_EXCHANGE (EXCHANGE_NAME),
  FOREIGN KEY (QUEUE_NAME) REFERENCES MB_QUEUE (QUEUE_NAME) ON DELETE CASCADE
MB_QUEUE_COUNTER: QUEUE_NAME NAME!, MESSAGE_COUNT ID, PRIMARY KEY (QUEUE_NAME)
MB_SLOT: SLOT_ID BIGSERIAL, START_MESSAGE_ID ID!, END_MESSAGE_ID ID!, STORAGE_QUEUE_NAME NAME!, SLOT_STATE STATE!,
  ASSIGNED_NODE_ID NAME, ASSIGNED_QUEUE_NAME NAME, PRIMARY KEY (SLOT_ID)
MB_SLOT_MESSAGE_ID: QUEUE_NAME NAME!, MESSAGE_ID ID!, PRIMARY KEY (QUEUE_NAME, MESSAGE_ID)
MB_QUEUE_TO_LAST_ASSIGNED_ID: QUEUE_NAME NAME!, MESSAGE_ID ID!, PRIMARY KEY (QUEUE_NAME)
MB_NODE_TO_LAST_PUBLISHED_ID: NODE_ID NAME!, MESSAGE_ID ID!, PRIMARY KEY (NODE_ID)
MB_MSG_STORE_STATUS: NODE_ID NAME!, TIME_STAMP TIME, PRIMARY KEY (NODE_ID, TIME_STAMP)
MB_COORDINATOR_HEARTBEAT: ANCHOR INTEGER!, NODE_ID NAME!, LAST_HEARTBEAT TIME!, THRIFT_HOST NAME!, THRIFT_PORT INTEGER!,
  PRIMARY KEY (ANCHOR)
MB_NODE_HEARTBEAT: NODE_ID NAME!, LAST_HEARTBEAT TIME!, IS_NEW_NODE STATE!, CLUSTER_AGENT_HOST NAME!,
  CLUSTER_AGENT_PORT INTEGER!, PRIMARY KEY (NODE_ID)
MB_MEMBERSHIP: EVENT_ID BIGSERIAL, NODE_ID NAME!, CHANGE_TYPE STATE!, CHANGED_MEMBER_ID NAME!, PRIMARY KEY (EVENT_ID)
MB_CLUSTER_EVENT: EVENT_ID BIGSERIAL, ORIGINATED_NODE_ID NAME!, DESTINED_NODE_ID NAME!, EVENT_ARTIFACT SHORT!,
  EVENT_TYPE SHORT!, EVENT_DETAILS TEXT!, EVENT_DESCRIPTION TEXT, PRIMARY KEY (EVENT_ID)
"""
_TYPES: Final[Mapping[str, Mapping[str, str]]] = {
    "mariadb": {
        "ID": "BIGINT",
        "TIME": "BIGINT",
        "SERIAL": "INTEGER AUTO_INCREMENT",
        "BIGSERIAL": "BIGINT AUTO_INCREMENT",
        "BLOB": "VARBINARY(65500)",
        "OCTETS": "VARBINARY(65000)",
        "XID": "VARBINARY(260)",
        "STATE": "TINYINT",
    },
    "postgresql": {
        "ID": "NUMERIC(19)",
        "TIME": "NUMERIC(19)",
        **dict.fromkeys(("BLOB", "OCTETS", "XID"), "BYTEA"),
        "STATE": "NUMERIC(3)",
    },
}
_ALL: Final = {"NAME": "VARCHAR(512)", "TEXT": "VARCHAR(2048)", "SHORT": "VARCHAR(25)"}
ROUTERS: Final = (("<<default>>", "direct"), ("amq.direct", "direct"), ("amq.topic", "topic"), ("amq.dlc", "direct"))


def script(kind: str) -> str:
    """Return the statements that make the tables."""
    types = {**_ALL, **_TYPES[kind]}
    statements = []
    for line in re.sub(r"\n\s+", " ", _TABLES).strip().splitlines():
        name, _, columns = line.partition(": ")
        columns = re.sub(r"\{(.*?)\}", r"\1" if kind == "mariadb" else "", columns)
        columns = re.sub(
            r"\b(\w+) ([A-Z]+)(?=[!,]|$)", lambda found: f"{found[1]} {types.get(found[2], found[2])}", columns
        )
        columns = columns.replace("!", " NOT NULL")
        engine = " ENGINE=InnoDB DEFAULT CHARSET=latin1" if kind == "mariadb" else ""
        statements.append(f"CREATE TABLE {name} ({columns}){engine}")
    return ";\n".join([*statements, ""])


def message_id(number: int, node: int = 1, ms: int = 1_700_000_000_000) -> int:
    """Return the id of a message that came to a node `number` milliseconds after `ms`."""
    return (ms + number - EPOCH_MS << 18) + (node << 10)


def metadata(
    body_size: int,
    key: str,
    *,
    exchange: str = "amq.direct",
    properties: BasicProperties | None = None,
    compressed: bool | None = False,
    arrived_ms: int = 1_700_000_000_000,
) -> bytes:
    """Return MESSAGE_METADATA as WSO2's broker writes it; `compressed` is None for older ones, which do not say."""
    header = encode_header(body_size, properties or BasicProperties(delivery_mode=2))
    texts = b"".join(len(each.encode()).to_bytes(1, "big") + each.encode() for each in (exchange, key))
    rest = b"\0" + (77).to_bytes(8, "big") + arrived_ms.to_bytes(8, "big")
    return (
        b"\0"
        + len(header).to_bytes(4, "big")
        + header
        + texts
        + rest
        + (b"" if compressed is None else bytes([compressed]))
    )


class Wso2Database:
    """A database with WSO2's tables, which the broker's user owns. Rows are collected, and written by `fill`."""

    def __init__(self, server: DatabaseServer, made_by: str = "") -> None:
        """`made_by` are statements that make the tables in the place of `script`."""
        self._server = server
        self.kind = server.kind
        self.name = server.create_database("latin1" if server.kind == "mariadb" else None)
        self._rows: dict[str, list[str]] = {}
        self._queue_ids: dict[str, int] = {}
        self.run(made_by or script(server.kind))

    @property
    def url(self) -> str:
        return self._server.jdbc_url(self.name)

    @property
    def datasource(self) -> PoolConfiguration:
        return PoolConfiguration(url=self.url)

    def run(self, statements: str) -> None:
        """Run statements as the broker's own user, who then owns what they make."""
        as_broker = "SET ROLE broker;\n" if self.kind == "postgresql" else ""
        self._server.sql(as_broker + statements, self.name)

    def rows(self, statement: str) -> list[list[str]]:
        return [line.split("\t") for line in self._server.sql(statement, self.name).splitlines()]

    def tables(self) -> set[str]:
        """Return the names of all tables."""
        schema = "DATABASE()" if self.kind == "mariadb" else "'public'"
        found = self.rows(f"SELECT table_name FROM information_schema.tables WHERE table_schema = {schema}")
        return {name for (name,) in found}

    def close(self) -> None:
        self._server.drop_database(self.name)

    # What nodes write

    def first_start(self) -> Wso2Database:
        """Add what a node makes at its first start."""
        for name, kind in ROUTERS:
            self.add("MB_EXCHANGE", name, f"messageRouterName={name},type={kind},autoDelete=false")
        self.queue(DLC, bound_to=("amq.dlc", DLC))
        return self

    def queue(
        self,
        name: str,
        *,
        durable: bool = True,
        exclusive: bool = False,
        bound_to: tuple[str, str] | None = None,
    ) -> None:
        """Add a queue, bound to `amq.direct` by its name if nothing else is said."""
        flags = f"isExclusive={str(exclusive).lower()},isDurable={str(durable).lower()}"
        data = f"queueName={name},queueOwner=admin,{flags},isShared=false,lastPurgedTimestamp=0"
        self.add("MB_QUEUE", name, data)
        exchange, key = bound_to or ("amq.direct", name)
        self.add("MB_BINDING", exchange, name, f"boundMessageRouter={exchange},boundQueueName={name},bindingKey={key}")
        self.storage_queue(name)

    def subscription(self, name: str, topic: str) -> None:
        """Add a durable subscription."""
        self.queue(f"carbon:{name}", exclusive=True, bound_to=("amq.topic", topic))

    def storage_queue(self, name: str) -> int:
        """Return the id of a storage queue, which is made when there is none."""
        if name not in self._queue_ids:
            self._queue_ids[name] = len(self._queue_ids) + 1
            self.add("MB_QUEUE_MAPPING", self._queue_ids[name], name)
        return self._queue_ids[name]

    def message(
        self,
        id_: int,
        queue: str,
        body: bytes,
        *,
        dead: bool = False,
        expires_ms: int = 0,
        stored: bytes | None = None,
        octets: bytes | None = None,
        **more: Any,
    ) -> None:
        """Add a message; `stored` is its body as it is stored, `octets` are those of its metadata, if other ones."""
        if expires_ms:
            more["properties"] = BasicProperties(delivery_mode=2, expiration=str(expires_ms))
        more.setdefault("key", queue)
        dlc = self.storage_queue(DLC) if dead else LIVE
        known = metadata(len(body), **more) if octets is None else octets
        self.add("MB_METADATA", id_, self.storage_queue(queue), dlc, known)
        stored = body if stored is None else stored
        for offset in range(0, len(stored), CHUNK):
            self.add("MB_CONTENT", id_, offset, stored[offset : offset + CHUNK])
        if expires_ms:
            self.add("MB_EXPIRATION_DATA", id_, expires_ms, dlc, queue)

    def add(self, table: str, *values: int | str | bytes) -> None:
        """Add a row."""
        self._rows.setdefault(table, []).append(f"({', '.join(map(self._literal, values))})")

    def _literal(self, value: int | str | bytes) -> str:
        if isinstance(value, bytes):
            return f"X'{value.hex()}'" if self.kind == "mariadb" else f"'\\x{value.hex()}'"
        return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"

    def fill(self) -> Wso2Database:
        """Write all rows that were added."""
        first = ("MB_EXCHANGE", "MB_QUEUE", "MB_QUEUE_MAPPING", "MB_METADATA", "MB_DTX_XID")
        statements = []
        for table in sorted(self._rows, key=lambda name: first.index(name) if name in first else len(first)):
            statements += [f"INSERT INTO {table} VALUES {', '.join(part)}" for part in _parts(self._rows[table])]
        self._rows.clear()
        self.run(";\n".join([*statements, ""]))
        return self


def _parts(rows: list[str]) -> Iterable[list[str]]:
    start = octets = 0
    for place, row in enumerate(rows):
        if octets + len(row) > 1_000_000 and place > start:
            yield rows[start:place]
            start, octets = place, 0
        octets += len(row)
    yield rows[start:]


def jms_headers(**headers: Any) -> BasicProperties:
    """Return properties with these headers."""
    return BasicProperties(delivery_mode=2, content_type="text/plain", headers=FieldTable.of(headers))
