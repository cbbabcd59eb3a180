"""The tables, named as in Andes where they mean the same (andes §2).

The revisions in `migrations/` create them; a test holds the two equal.
"""

from __future__ import annotations

import re
from typing import Any, Final

from sqlalchemy import (
    DDL,
    VARBINARY,
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    event,
    false,
    true,
)
from sqlalchemy import Table as AnyTable
from sqlalchemy.types import TypeEngine

metadata: Final = MetaData()


class Name(TypeDecorator[str]):
    """A name of at most 255 octets, compared octet by octet whatever the database's character set and collation are.

    MySQL's collations, even the binary ones, ignore blanks at the end: there the column holds UTF-8 as VARBINARY.
    PostgreSQL's text cannot hold the character NUL: there a backslash escapes NUL and itself.
    """

    impl = String
    cache_ok = True

    def __init__(self, length: int = 255) -> None:
        super().__init__(length)
        self._length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name in _MYSQL:
            return dialect.type_descriptor(VARBINARY(self._length))
        if dialect.name == "postgresql":
            return Text(collation="C")
        return dialect.type_descriptor(String(self._length))

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        if value is None or dialect.name == "sqlite":
            return value
        if dialect.name in _MYSQL:
            return value.encode()
        return postgresql_text(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        if value is None or dialect.name == "sqlite":
            return value  # type: ignore[no-any-return]
        if dialect.name in _MYSQL:
            return bytes(value).decode(errors="surrogateescape")  # what is not UTF-8 is told apart where it is read
        return _ESCAPED.sub(lambda match: "\0" if match[1] == "0" else "\\", str(value))


def postgresql_text(name: str) -> str:
    """Return what PostgreSQL stores for `name`."""
    return name.replace("\\", "\\\\").replace("\0", "\\0")


_MYSQL: Final = ("mysql", "mariadb")
_ESCAPED: Final = re.compile(r"\\([0\\])")


def _name(length: int = 255) -> Name:
    return Name(length)


def Table(name: str, *items: Any) -> AnyTable:
    """Return a table, in MySQL with the transactional engine InnoDB."""
    return AnyTable(name, *items, mysql_engine="InnoDB", mariadb_engine="InnoDB")


def _column(name: str, type_: Any, **options: Any) -> Column[Any]:
    """Return a column with a name in capitals for the database and in small letters for Python."""
    return Column(name, type_, key=name.lower(), **options)


# In SQLite a single key column of exactly this type is the row's own address, and needs no index.
_ID: Final = BigInteger().with_variant(Integer(), "sqlite")

# A field table or content header can be longer than the 65 535 octets of MySQL's plain BLOB.
_LONG: Final = (1 << 24) - 1

VIRTUAL_HOST: Final = Table("MB_VIRTUAL_HOST", metadata, _column("VHOST", _name(), primary_key=True))

EXCHANGE: Final = Table(
    "MB_EXCHANGE",
    metadata,
    _column("VHOST", _name(), primary_key=True),
    _column("EXCHANGE_NAME", _name(), primary_key=True),
    _column("EXCHANGE_TYPE", _name(), nullable=False),
    _column("AUTO_DELETE", Boolean, nullable=False),
    _column("INTERNAL", Boolean, nullable=False),
    _column("ARGUMENTS", LargeBinary(_LONG), nullable=False),
    _column("DURABLE", Boolean, nullable=False, server_default=true()),
)

# NODE_ID and INCARNATION are those of the connection that an exclusive queue belongs to.
QUEUE: Final = Table(
    "MB_QUEUE",
    metadata,
    _column("QUEUE_ID", _ID, primary_key=True, autoincrement=False),
    _column("VHOST", _name(), nullable=False),
    _column("QUEUE_NAME", _name(), nullable=False),
    _column("EXCLUSIVE", Boolean, nullable=False),
    _column("AUTO_DELETE", Boolean, nullable=False),
    _column("ARGUMENTS", LargeBinary(_LONG), nullable=False),
    _column("DURABLE", Boolean, nullable=False, server_default=true()),
    _column("NODE_ID", _name(), nullable=False, server_default=""),
    _column("INCARNATION", _name(36), nullable=False, server_default=""),
    UniqueConstraint("vhost", "queue_name", name="MB_QUEUE_NAME_KEY"),
)

# All fields together identify a binding, but they are too long for an index of MySQL: their hash is the key.
BINDING: Final = Table(
    "MB_BINDING",
    metadata,
    _column("BINDING_ID", _ID, primary_key=True),
    _column("BINDING_HASH", String(64), nullable=False),
    _column("VHOST", _name(), nullable=False),
    _column("SOURCE", _name(), nullable=False),
    _column("DESTINATION_KIND", String(8), nullable=False),
    _column("DESTINATION", _name(), nullable=False),
    _column("ROUTING_KEY", _name(), nullable=False),
    _column("ARGUMENTS", LargeBinary(_LONG), nullable=False),
    UniqueConstraint("binding_hash", name="MB_BINDING_HASH_KEY"),
)
Index("MB_BINDING_SOURCE_INDEX", BINDING.c.vhost, BINDING.c.source)
Index("MB_BINDING_DESTINATION_INDEX", BINDING.c.vhost, BINDING.c.destination)

# Of a limit -1 means that there is none.
USER: Final = Table(
    "MB_USER",
    metadata,
    _column("USER_NAME", _name(), primary_key=True),
    _column("PASSWORD_HASH", _name(1000), nullable=False),
    _column("TAGS", _name(1000), nullable=False),
    _column("LOOPBACK_ONLY", Boolean, nullable=False),
    _column("MAX_CONNECTIONS", Integer, nullable=False),
    _column("MAX_CHANNELS", Integer, nullable=False),
)

# The permissions are regular expressions for the names of resources.
PERMISSION: Final = Table(
    "MB_PERMISSION",
    metadata,
    _column("USER_NAME", _name(), primary_key=True),
    _column("VHOST", _name(), primary_key=True),
    _column("CONFIGURE_PATTERN", _name(1000), nullable=False),
    _column("WRITE_PATTERN", _name(1000), nullable=False),
    _column("READ_PATTERN", _name(1000), nullable=False),
)

# The permissions are regular expressions for routing keys. The hash is that of user, virtual host and exchange, which
# are too long together for an index of MySQL.
TOPIC_PERMISSION: Final = Table(
    "MB_TOPIC_PERMISSION",
    metadata,
    _column("PERMISSION_ID", _ID, primary_key=True),
    _column("PERMISSION_HASH", String(64), nullable=False),
    _column("USER_NAME", _name(), nullable=False),
    _column("VHOST", _name(), nullable=False),
    _column("EXCHANGE_NAME", _name(), nullable=False),
    _column("WRITE_PATTERN", _name(1000), nullable=False),
    _column("READ_PATTERN", _name(1000), nullable=False),
    UniqueConstraint("permission_hash", name="MB_TOPIC_PERMISSION_KEY"),
)

VIRTUAL_HOST_SETTINGS: Final = Table(
    "MB_VIRTUAL_HOST_SETTINGS",
    metadata,
    _column("VHOST", _name(), primary_key=True),
    _column("DESCRIPTION", _name(1000), nullable=False),
    _column("TAGS", _name(1000), nullable=False),
    _column("DEFAULT_QUEUE_TYPE", _name(), nullable=False),
    _column("MAX_CONNECTIONS", Integer, nullable=False),
    _column("MAX_QUEUES", Integer, nullable=False),
    _column("REDECLARATION", _name(16), nullable=False, server_default=""),
    _column("PROTECTED_FROM_DELETION", Boolean, nullable=False, server_default=false()),
)

# DEFINITION and PARAMETER_VALUE are JSON.
POLICY: Final = Table(
    "MB_POLICY",
    metadata,
    _column("VHOST", _name(), primary_key=True),
    _column("POLICY_NAME", _name(), primary_key=True),
    _column("IS_OPERATOR", Boolean, primary_key=True),
    _column("PATTERN", _name(1000), nullable=False),
    _column("APPLY_TO", _name(), nullable=False),
    _column("PRIORITY", BigInteger, nullable=False),
    _column("DEFINITION", LargeBinary, nullable=False),
)

GLOBAL_PARAMETER: Final = Table(
    "MB_GLOBAL_PARAMETER",
    metadata,
    _column("PARAMETER_NAME", _name(), primary_key=True),
    _column("PARAMETER_VALUE", LargeBinary, nullable=False),
)

# The nodes on which a queue has consumers, in the order of their subscription.
SUBSCRIPTION: Final = Table(
    "MB_SUBSCRIPTION",
    metadata,
    _column("SUBSCRIPTION_ID", _ID, primary_key=True),
    _column("QUEUE_ID", BigInteger, nullable=False),
    _column("NODE_ID", _name(), nullable=False),
    _column("INCARNATION", _name(36), nullable=False),
    _column("EXCLUSIVE", Boolean, nullable=False),
    _column("PRIORITY", BigInteger, nullable=False, server_default="0"),
    UniqueConstraint("queue_id", "node_id", "incarnation", name="MB_SUBSCRIPTION_KEY"),
)

# QUEUE_ID is negative for rows that must not survive a restart, and further from zero by 2^62 for damaged ones that are
# set aside. CONTENT_ID names rows of MB_CONTENT; without it the body is in MESSAGE_CONTENT. MESSAGE_METADATA is
# exchange, routing key and the content header's payload. CHECKSUM is over metadata and body; older rows have none.
METADATA: Final = Table(
    "MB_METADATA",
    metadata,
    _column("MESSAGE_ID", _ID, primary_key=True, autoincrement=False),
    _column("QUEUE_ID", BigInteger, nullable=False),
    _column("CONTENT_ID", BigInteger),
    _column("REDELIVERED", SmallInteger, nullable=False),
    _column("MESSAGE_METADATA", LargeBinary(_LONG), nullable=False),
    _column("MESSAGE_CONTENT", LargeBinary(65_500)),
    _column("CHECKSUM", Integer),
)
# In SQLite every index entry ends with the row's address, which is MESSAGE_ID here: naming it would store it twice.
Index("MB_METADATA_QUEUE_ID_INDEX", METADATA.c.queue_id).ddl_if(dialect="sqlite")
Index("MB_METADATA_QUEUE_ID_INDEX", METADATA.c.queue_id, METADATA.c.message_id).ddl_if(
    callable_=lambda *_, dialect, **__: dialect.name != "sqlite"
)
_HAS_CONTENT: Final = METADATA.c.content_id.is_not(None)
Index("MB_METADATA_CONTENT_ID_INDEX", METADATA.c.content_id, sqlite_where=_HAS_CONTENT, postgresql_where=_HAS_CONTENT)

CONTENT: Final = Table(
    "MB_CONTENT",
    metadata,
    _column("MESSAGE_ID", BigInteger, primary_key=True, autoincrement=False),
    _column("CONTENT_OFFSET", Integer, primary_key=True, autoincrement=False),
    _column("MESSAGE_CONTENT", LargeBinary(65_500), nullable=False),
)

# PostgreSQL would try to compress every body of more than 2 kB, which is not worth the time.
for _table in (METADATA, CONTENT):
    _storage = DDL(f'ALTER TABLE "{_table.name}" ALTER COLUMN "MESSAGE_CONTENT" SET STORAGE EXTERNAL')  # type: ignore[no-untyped-call]
    event.listen(_table, "after_create", _storage.execute_if(dialect="postgresql"))

# The damaged messages that are set aside in MB_METADATA, for operators: what is wrong, and when that was seen, in
# milliseconds of the node's clock.
DAMAGED_MESSAGE: Final = Table(
    "MB_DAMAGED_MESSAGE",
    metadata,
    _column("MESSAGE_ID", _ID, primary_key=True, autoincrement=False),
    _column("QUEUE_ID", BigInteger, nullable=False),
    _column("REASON", String(255), nullable=False),
    _column("TIME_STAMP", BigInteger, nullable=False),
)

Index("MB_DAMAGED_MESSAGE_QUEUE_ID_INDEX", DAMAGED_MESSAGE.c.queue_id)

# The messages that expire by their own property: QUEUE_ID is that of the row in MB_METADATA, EXPIRATION_TIME is in
# milliseconds since 1970. Row and message are written and deleted in one transaction; messages without an expiration
# have no row, and cost nothing here.
EXPIRATION: Final = Table(
    "MB_EXPIRATION_DATA",
    metadata,
    _column("MESSAGE_ID", _ID, primary_key=True, autoincrement=False),
    _column("QUEUE_ID", BigInteger, nullable=False),
    _column("EXPIRATION_TIME", BigInteger, nullable=False),
)
Index("MB_EXPIRATION_DATA_DUE_INDEX", EXPIRATION.c.queue_id, EXPIRATION.c.expiration_time).ddl_if(dialect="sqlite")
Index(
    "MB_EXPIRATION_DATA_DUE_INDEX",
    EXPIRATION.c.queue_id,
    EXPIRATION.c.expiration_time,
    EXPIRATION.c.message_id,
).ddl_if(callable_=lambda *_, dialect, **__: dialect.name != "sqlite")

# The index of message groups: each message of a queue with groups has a row, written and deleted with it; one too many
# does no harm. GROUP_ID is a number made from the name of the group, 0 of messages without one.
MESSAGE_GROUP: Final = Table(
    "MB_MESSAGE_GROUP",
    metadata,
    _column("MESSAGE_ID", _ID, primary_key=True, autoincrement=False),
    _column("QUEUE_ID", BigInteger, nullable=False),
    _column("GROUP_ID", BigInteger, nullable=False),
)
Index("MB_MESSAGE_GROUP_INDEX", MESSAGE_GROUP.c.queue_id, MESSAGE_GROUP.c.group_id).ddl_if(dialect="sqlite")
Index("MB_MESSAGE_GROUP_INDEX", MESSAGE_GROUP.c.queue_id, MESSAGE_GROUP.c.group_id, MESSAGE_GROUP.c.message_id).ddl_if(
    callable_=lambda *_, dialect, **__: dialect.name != "sqlite"
)

# The prepared branches of distributed transactions, of all nodes. BRANCH_KEY is the hash of virtual host and xid; the
# content says what commit and rollback are to do, in pieces.
DTX_BRANCH: Final = Table(
    "MB_DTX_BRANCH",
    metadata,
    _column("BRANCH_KEY", String(64), primary_key=True),
    _column("VHOST", _name(), nullable=False),
    _column("FORMAT_CODE", Integer, nullable=False),
    _column("GLOBAL_ID", LargeBinary(64), nullable=False),
    _column("BRANCH_ID", LargeBinary(64), nullable=False),
)

Index("MB_DTX_BRANCH_VHOST_INDEX", DTX_BRANCH.c.vhost, DTX_BRANCH.c.branch_key)

DTX_BRANCH_CONTENT: Final = Table(
    "MB_DTX_BRANCH_CONTENT",
    metadata,
    _column("BRANCH_KEY", String(64), primary_key=True),
    _column("CONTENT_OFFSET", Integer, primary_key=True, autoincrement=False),
    _column("BRANCH_CONTENT", LargeBinary(65_500), nullable=False),
)

# The keys of de-duplication. SCOPE_ID is a queue, or the negative number of an exchange; the digest stands for the key.
# MESSAGE_ID is the message that has it, UNTIL_TIME is in milliseconds since 1970; 0: as long as that message is there.
DEDUPLICATION_KEY: Final = Table(
    "MB_DEDUPLICATION_KEY",
    metadata,
    _column("SCOPE_ID", BigInteger, primary_key=True, autoincrement=False),
    _column("KEY_DIGEST", _name(32), primary_key=True),
    _column("MESSAGE_ID", BigInteger, nullable=False),
    _column("UNTIL_TIME", BigInteger, nullable=False),
)

# The segments of streams, in rows of 65 500 octets: each has what concerns all of its segment. FIRST_OFFSET is that of
# the segment's first message, LAST_TIME when the newest message up to its end was published, in milliseconds since
# 1970, POSITION how many octets all segments before it had since the stream was made. CHECKSUM is over the segment.
STREAM_SEGMENT: Final = Table(
    "MB_STREAM_SEGMENT",
    metadata,
    _column("QUEUE_ID", BigInteger, primary_key=True, autoincrement=False),
    _column("FIRST_OFFSET", BigInteger, primary_key=True, autoincrement=False),
    _column("PART", Integer, primary_key=True, autoincrement=False),
    _column("MESSAGE_COUNT", Integer, nullable=False),
    _column("LAST_TIME", BigInteger, nullable=False),
    _column("POSITION", BigInteger, nullable=False),
    _column("OCTETS", Integer, nullable=False),
    _column("CHECKSUM", Integer, nullable=False),
    _column("SEGMENT_CONTENT", LargeBinary(65_500), nullable=False),
)

# The offset that a consumer of a stream is to get next, if its place is kept.
STREAM_PLACE: Final = Table(
    "MB_STREAM_PLACE",
    metadata,
    _column("QUEUE_ID", BigInteger, primary_key=True, autoincrement=False),
    _column("CONSUMER_NAME", _name(), primary_key=True),
    _column("NEXT_OFFSET", BigInteger, nullable=False),
)

# Slots that left the node that published them; without a NODE_ID a slot is free. A message is in one slot at most.
SLOT: Final = Table(
    "MB_SLOT",
    metadata,
    _column("START_MESSAGE_ID", _ID, primary_key=True, autoincrement=False),
    _column("END_MESSAGE_ID", BigInteger, nullable=False),
    _column("QUEUE_ID", BigInteger, nullable=False),
    _column("LANE", SmallInteger, nullable=False),
    _column("MESSAGE_COUNT", BigInteger, nullable=False),
    _column("MAYBE_DELIVERED", Boolean, nullable=False),
    _column("HAS_TRANSIENT", Boolean, nullable=False),
    _column("NODE_ID", _name()),
    _column("INCARNATION", _name(36)),
)
Index("MB_SLOT_QUEUE_ID_INDEX", SLOT.c.queue_id, SLOT.c.lane)
Index("MB_SLOT_OWNER_INDEX", SLOT.c.node_id, SLOT.c.incarnation)

# BATCH is what earlier versions count; see MB_NODE_BATCH.
NODE: Final = Table(
    "MB_NODE",
    metadata,
    _column("NODE_ID", _name(), primary_key=True),
    _column("LANE", SmallInteger, nullable=False),
    _column("STATE", String(16), nullable=False),
    _column("INCARNATION", String(32), nullable=False, server_default=""),
    _column("BATCH", BigInteger, nullable=False, server_default="0"),
    UniqueConstraint("lane", name="MB_NODE_LANE_KEY"),
)

# A row for each of a node's last batches, which tells whether a commit without an answer was done. No row is written
# twice: a row that is updated by every commit leaves a version each time, and PostgreSQL walks all of them for as long
# as another transaction holds a snapshot. The row with BATCH 0 is made when the node registers (ADR 31).
NODE_BATCH: Final = Table(
    "MB_NODE_BATCH",
    metadata,
    _column("LANE", SmallInteger, primary_key=True, autoincrement=False),
    _column("BATCH", BigInteger, primary_key=True, autoincrement=False),
)

LAST_PUBLISHED_ID: Final = Table(
    "MB_NODE_TO_LAST_PUBLISHED_ID",
    metadata,
    _column("NODE_ID", _name(), primary_key=True),
    _column("MESSAGE_ID", BigInteger, nullable=False),
)

STORE_STATUS: Final = Table(
    "MB_MSG_STORE_STATUS",
    metadata,
    _column("NODE_ID", _name(), primary_key=True),
    _column("TIME_STAMP", BigInteger, nullable=False),
)

SEQUENCE: Final = Table(
    "MB_SEQUENCE",
    metadata,
    _column("NAME", _name(64), primary_key=True),
    _column("NEXT_VALUE", BigInteger, nullable=False),
)

# One row each, made by the revision (ADR 16). Lease and fence are two tables, so that a renewal never waits for a
# transaction that the coordinator does under the fence.
LEASE: Final = Table(
    "MB_COORDINATOR_HEARTBEAT",
    metadata,
    _column("ANCHOR", Integer, primary_key=True, autoincrement=False),
    _column("EPOCH", BigInteger, nullable=False),
    _column("BEAT", BigInteger, nullable=False),
    _column("TERM", _name(36), nullable=False),
    _column("NODE_ID", _name()),
    _column("LAST_HEARTBEAT", BigInteger, nullable=False),
    _column("THRIFT_HOST", _name()),
    _column("THRIFT_PORT", Integer),
)

FENCE: Final = Table(
    "MB_COORDINATOR_FENCE",
    metadata,
    _column("ANCHOR", Integer, primary_key=True, autoincrement=False),
    _column("EPOCH", BigInteger, nullable=False),
    _column("TERM", _name(36), nullable=False),
    _column("SEQUENCE", BigInteger, nullable=False),
)

# LAST_HEARTBEAT, here as above, is in milliseconds of the database's clock. Only a standalone broker that starts
# compares it; the nodes of a cluster compare BEAT.
NODE_HEARTBEAT: Final = Table(
    "MB_NODE_HEARTBEAT",
    metadata,
    _column("NODE_ID", _name(), primary_key=True),
    _column("INCARNATION", _name(36), nullable=False),
    _column("FENCE", BigInteger, nullable=False),
    _column("BEAT", BigInteger, nullable=False),
    _column("STATE", String(16), nullable=False),
    _column("LAST_HEARTBEAT", BigInteger, nullable=False),
    _column("CLUSTER_AGENT_HOST", _name(), nullable=False),
    _column("CLUSTER_AGENT_PORT", Integer, nullable=False),
    _column("TERMS", _name(), nullable=False, server_default=""),
)

# The timeline of members: Andes had one row for each addressee, deleted when read. INCARNATION is the term when the
# coordinator changed; NODE_ID is the node that made the change.
MEMBERSHIP: Final = Table(
    "MB_MEMBERSHIP",
    metadata,
    _column("EVENT_ID", _ID, primary_key=True),
    _column("NODE_ID", _name()),
    _column("CHANGE_TYPE", SmallInteger, nullable=False),
    _column("CHANGED_MEMBER_ID", _name(), nullable=False),
    _column("INCARNATION", _name(36), nullable=False),
    _column("TIME_STAMP", BigInteger, nullable=False),
)

# The changes of topology as events. The head is one row, made by the revision; every change writes it last, so that
# events are numbered without a gap (ADR 20).
EVENT: Final = Table(
    "MB_CLUSTER_EVENT",
    metadata,
    _column("EVENT_ID", _ID, primary_key=True, autoincrement=False),
    _column("NODE_ID", _name(), nullable=False),
    _column("INCARNATION", _name(36), nullable=False),
    _column("TOKEN", _name(36), nullable=False),
    _column("PAYLOAD", LargeBinary(_LONG), nullable=False),
    _column("TIME_STAMP", BigInteger, nullable=False),
)

EVENT_HEAD: Final = Table(
    "MB_CLUSTER_EVENT_HEAD",
    metadata,
    _column("ANCHOR", Integer, primary_key=True, autoincrement=False),
    _column("EVENT_ID", BigInteger, nullable=False),
    _column("TOKEN", _name(36), nullable=False),
)

EVENT_CURSOR: Final = Table(
    "MB_EVENT_CURSOR",
    metadata,
    _column("NODE_ID", _name(), primary_key=True),
    _column("INCARNATION", _name(36), nullable=False),
    _column("EVENT_ID", BigInteger, nullable=False),
    _column("TOPOLOGY_HASH", _name(64), nullable=False),
)
