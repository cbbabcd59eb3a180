"""The dialect of PostgreSQL: its sessions, its error codes and its hot statements.

Rows are written by COPY, which is faster than a multi-row INSERT at any batch size.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Sequence
from typing import Any, Final
from weakref import WeakSet

import asyncpg
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.config.connection_options import ConnectionOptions
from broker.config.server_hosts import Address
from broker.config.store_url import StoreUrl
from broker.errors import ConfigError, StoreUnavailable
from broker.machine.host_names import HostNames
from broker.ports.cluster_rows import Incarnation, SlotRow
from broker.ports.peer_calls import Fence
from broker.ports.slot import ALL_LANES, Slot
from broker.ports.store import DueKey
from broker.store.rows import NO_CHECKSUM
from broker.store.server.addresses import Servers
from broker.store.server.batch import Rows, joined_contents
from broker.store.server.branches import change_in_postgresql
from broker.store.server.dialect import SMALL_BODY, SMALL_METADATA, IndexRow, Marker
from broker.store.server.engine import Failure, NotReplicated, SessionTimeouts, keep_alive
from broker.store.server.keys import claim_in_postgresql
from broker.store.server.poolers import shares_session
from broker.store.server.safety import postgresql_findings
from broker.store.server.streams import append_in_postgresql
from broker.store.server.tls import tls_context
from broker.store.sql.identity import NAME as IDENTITY
from broker.store.sql.identity import UNNAMED
from broker.store.sql.schema import postgresql_text

_log = structlog.get_logger(__name__)

_SESSION: Final = {
    "default_transaction_isolation": "read committed",
    "jit": "off",
    # The server notices within a minute that a machine has vanished, and frees its locks.
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}

_BY_CODE: Final = {
    "40001": Failure.CONFLICT,
    "40P01": Failure.CONFLICT,
    "55P03": Failure.CONFLICT,
    "25006": Failure.READ_ONLY,
    "53100": Failure.FULL,
    "53000": Failure.BUSY,
    "53200": Failure.BUSY,
    "53300": Failure.BUSY,
    "53400": Failure.BUSY,
    "55000": Failure.BUSY,
    "57014": Failure.BUSY,
    "25P03": Failure.LOST,
    "25P04": Failure.LOST,
    "40003": Failure.LOST,
    "3D000": Failure.REFUSED,
    "3F000": Failure.REFUSED,
    "42501": Failure.REFUSED,
}
_BY_CLASS: Final = {"08": Failure.LOST, "57": Failure.LOST, "28": Failure.REFUSED}

# A client that stands still behind Parse, or in the middle of a COPY, is neither idle for the server, nor does a time
# limit for statements end it: the server waits for the rest of the request, and its transaction keeps its locks.
_END_HUNG_SESSIONS: Final = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname=current_database() AND usename=current_user AND application_name=$1 AND pid<>pg_backend_pid()"
    " AND state='active' AND wait_event='ClientRead'"
    " AND state_change<clock_timestamp()-make_interval(secs=>$2)"
)

_INLINE: Final = ("MESSAGE_ID", "QUEUE_ID", "REDELIVERED", "CHECKSUM", "MESSAGE_METADATA", "MESSAGE_CONTENT")
_SHARED: Final = ("MESSAGE_ID", "QUEUE_ID", "CONTENT_ID", "REDELIVERED", "CHECKSUM", "MESSAGE_METADATA")

PREPARE: Final = (
    "PREPARE count_batch(smallint,text,bigint) AS"
    ' INSERT INTO "MB_NODE_BATCH" ("LANE","BATCH") SELECT N."LANE",$3 FROM "MB_NODE" AS N'
    ' JOIN "MB_NODE_BATCH" AS B ON B."LANE"=N."LANE" AND B."BATCH"=$3-1'
    ' WHERE N."LANE"=$1 AND N."INCARNATION"=$2 FOR SHARE OF N'
)
"""The statement of every batch, planned once for a connection: that takes longer than the statement itself."""
_CONTENT: Final = (
    'INSERT INTO "MB_CONTENT" ("MESSAGE_ID","CONTENT_OFFSET","MESSAGE_CONTENT")'
    " SELECT * FROM unnest($1::bigint[],$2::integer[],$3::bytea[]) ON CONFLICT DO NOTHING"
)
_CONTENT_ROWS_PER_STATEMENT: Final = 200
_RECOUNT: Final = 'UPDATE "MB_METADATA" SET "REDELIVERED"=$2 WHERE "MESSAGE_ID"=ANY($1::bigint[])'
_DELETE: Final = 'DELETE FROM "MB_METADATA" WHERE "MESSAGE_ID"=ANY($1::bigint[])'
# Written as NOT EXISTS it is a join for the planner, which may then read all of the index.
_DELETE_ORPHANS: Final = (
    'DELETE FROM "MB_CONTENT" AS C WHERE "MESSAGE_ID"=ANY($1::bigint[])'
    ' AND (SELECT 1 FROM "MB_METADATA" WHERE "CONTENT_ID"=C."MESSAGE_ID" LIMIT 1) IS NULL'
)
# A row that is there already is left from a message that is gone: it gets the new values.
_EXPIRATIONS: Final = (
    'INSERT INTO "MB_EXPIRATION_DATA" AS E ("MESSAGE_ID","QUEUE_ID","EXPIRATION_TIME")'
    ' SELECT * FROM unnest($1::bigint[],$2::bigint[],$3::bigint[]) ON CONFLICT ("MESSAGE_ID")'
    ' DO UPDATE SET "QUEUE_ID"=EXCLUDED."QUEUE_ID","EXPIRATION_TIME"=EXCLUDED."EXPIRATION_TIME"'
)
_DELETE_EXPIRATIONS: Final = 'DELETE FROM "MB_EXPIRATION_DATA" WHERE "MESSAGE_ID"=ANY($1::bigint[])'
_HAS_EXPIRATIONS: Final = 'SELECT 1 FROM "MB_EXPIRATION_DATA" WHERE "QUEUE_ID"=ANY($1::bigint[]) LIMIT 1'
_GROUPS: Final = (
    'INSERT INTO "MB_MESSAGE_GROUP" AS G ("MESSAGE_ID","QUEUE_ID","GROUP_ID")'
    ' SELECT * FROM unnest($1::bigint[],$2::bigint[],$3::bigint[]) ON CONFLICT ("MESSAGE_ID")'
    ' DO UPDATE SET "QUEUE_ID"=EXCLUDED."QUEUE_ID","GROUP_ID"=EXCLUDED."GROUP_ID"'
)
_DELETE_GROUPS: Final = 'DELETE FROM "MB_MESSAGE_GROUP" WHERE "MESSAGE_ID"=ANY($1::bigint[])'
_SLOT: Final = (
    'INSERT INTO "MB_SLOT" ("START_MESSAGE_ID","END_MESSAGE_ID","QUEUE_ID","LANE","MESSAGE_COUNT","MAYBE_DELIVERED",'
    '"HAS_TRANSIENT") SELECT * FROM unnest($1::bigint[],$2::bigint[],$3::bigint[],$4::smallint[],$5::integer[],'
    "$6::boolean[],$7::boolean[]) ON CONFLICT DO NOTHING"
)
_PASS_FENCE: Final = 'SELECT 1 FROM "MB_COORDINATOR_FENCE" WHERE "ANCHOR"=1 AND "EPOCH"=$1 AND "TERM"=$2 FOR UPDATE'
_ASSIGN: Final = (
    'WITH alive AS (SELECT 1 FROM "MB_NODE" WHERE "NODE_ID"=$1 AND "INCARNATION"=$2 FOR SHARE)'
    ' UPDATE "MB_SLOT" SET "NODE_ID"=$1,"INCARNATION"=$2'
    " FROM unnest($3::bigint[],$4::bigint[]) AS place(first,last)"
    ' WHERE "START_MESSAGE_ID"=first AND "END_MESSAGE_ID"=last AND "NODE_ID" IS NULL'
    " AND EXISTS (SELECT 1 FROM alive)"
)
_IN_SLOT: Final = '"MESSAGE_ID" BETWEEN $2 AND $3 AND ("MESSAGE_ID" >> 10) & 255 = $4'
_PURGE_NAMED: Final = (
    'SELECT DISTINCT "CONTENT_ID" FROM "MB_METADATA"'
    f' WHERE "QUEUE_ID"=ANY($1::bigint[]) AND {_IN_SLOT} AND "CONTENT_ID" IS NOT NULL'
)
_PURGE: Final = f'DELETE FROM "MB_METADATA" WHERE "QUEUE_ID"=ANY($1::bigint[]) AND {_IN_SLOT}'
_PURGE_GROUPS: Final = f'DELETE FROM "MB_MESSAGE_GROUP" WHERE "QUEUE_ID"=ANY($1::bigint[]) AND {_IN_SLOT}'
_PURGED: Final = f'SELECT "MESSAGE_ID" FROM "MB_METADATA" WHERE "QUEUE_ID"=ANY($1::bigint[]) AND {_IN_SLOT}'
_HIGH_WATER: Final = (
    'INSERT INTO "MB_NODE_TO_LAST_PUBLISHED_ID" AS L ("NODE_ID","MESSAGE_ID") VALUES ($1,$2)'
    ' ON CONFLICT ("NODE_ID") DO UPDATE SET "MESSAGE_ID"=GREATEST(L."MESSAGE_ID",EXCLUDED."MESSAGE_ID")'
)
_PROBE: Final = (
    'INSERT INTO "MB_MSG_STORE_STATUS" ("NODE_ID","TIME_STAMP")'
    " VALUES ($1,(EXTRACT(EPOCH FROM clock_timestamp())*1000)::bigint)"
    ' ON CONFLICT ("NODE_ID") DO UPDATE SET "TIME_STAMP"=EXCLUDED."TIME_STAMP"'
)
_INDEX_COLUMNS: Final = (
    '"MESSAGE_ID","QUEUE_ID","CONTENT_ID","REDELIVERED",'
    f'COALESCE("CHECKSUM",{NO_CHECKSUM}),octet_length("MESSAGE_METADATA"),'
    f'substring("MESSAGE_METADATA" FROM 1 FOR {SMALL_METADATA}),'
    f'CASE WHEN octet_length("MESSAGE_CONTENT")<={SMALL_BODY} THEN "MESSAGE_CONTENT" END'
)
# Each sign of the queue id is read by an index range of its own, so that the server sorts no more than one page.
_STORED: Final = (
    f'SELECT {_INDEX_COLUMNS} FROM "MB_METADATA" WHERE "QUEUE_ID"=$1 AND "MESSAGE_ID" BETWEEN $2 AND $3'
    f' AND $4::bigint IN (("MESSAGE_ID" >> 10) & 255, {ALL_LANES}) ORDER BY "MESSAGE_ID" LIMIT $5'
)
_BOTH: Final = f"({_STORED}) UNION ALL ({_STORED.replace('$1', '-$1::bigint', 1)}) ORDER BY 1 LIMIT $5"
_LISTED: Final = (
    f'SELECT {_INDEX_COLUMNS} FROM "MB_METADATA" WHERE "MESSAGE_ID"=ANY($1::bigint[]) AND "QUEUE_ID"=ANY($2::bigint[])'
)
_DUE: Final = (
    'SELECT "EXPIRATION_TIME","MESSAGE_ID" FROM "MB_EXPIRATION_DATA" WHERE "QUEUE_ID"=$1'
    ' AND ("EXPIRATION_TIME","MESSAGE_ID")>($2::bigint,$3::bigint) AND "EXPIRATION_TIME"<=$4'
    ' ORDER BY "EXPIRATION_TIME","MESSAGE_ID" LIMIT $5'
)
_DUE_KEYS: Final = f"({_DUE}) UNION ALL ({_DUE.replace('$1', '-$1::bigint', 1)}) ORDER BY 1,2 LIMIT $5"
_BODIES: Final = 'SELECT "MESSAGE_ID","MESSAGE_CONTENT" FROM "MB_METADATA" WHERE "MESSAGE_ID"=ANY($1::bigint[])'
_METADATA: Final = 'SELECT "MESSAGE_ID","MESSAGE_METADATA" FROM "MB_METADATA" WHERE "MESSAGE_ID"=ANY($1::bigint[])'
_CONTENTS: Final = (
    'SELECT "MESSAGE_ID","MESSAGE_CONTENT" FROM "MB_CONTENT" WHERE "MESSAGE_ID"=ANY($1::bigint[])'
    ' ORDER BY "MESSAGE_ID","CONTENT_OFFSET"'
)


_IDENTITY: Final = f"""SELECT "NEXT_VALUE" FROM "MB_SEQUENCE" WHERE "NAME"='{IDENTITY}'"""
_SETTINGS: Final = ("fsync", "full_page_writes", "synchronous_commit", "synchronous_standby_names")
# Who may not see the others' states gets NULL.
_STANDBYS: Final = (
    "SELECT count(*),count(*) FILTER (WHERE sync_state IN ('sync','quorum')),count(sync_state) FROM pg_stat_replication"
)
_ABSENT: Final = "SELECT slot_name FROM pg_replication_slots WHERE slot_type='physical' AND NOT active ORDER BY 1"


_STANDBY_WAIT: Final = "syncrep.c"
"""The source file of the server that warns when a commit does not wait for its standby; of any other it is a trigger or
an extension that warns with the same code.
"""
# An entry of the log that means nothing, for whose commit the server waits as for that of a row.
_WRITE_ANYWAY: Final = (
    "SELECT CASE current_setting('transaction_read_only') WHEN 'off'"
    " THEN pg_logical_emit_message(true,'cordillera','') END"
)


def count_batch(marker: Marker) -> str:
    """Return the statement that counts the batch of `marker`, and lets its incarnation last until the commit.

    It inserts no row when the incarnation is over, or when the batch before this one is not there.
    """
    return f"EXECUTE count_batch({marker.lane},'{marker.incarnation}',{marker.number})"


def forget_batches(marker: Marker) -> str:
    """Return the statement, or nothing, that deletes what was counted before the batch that `marker` follows."""
    old = marker.forgotten
    if not old:
        return ""
    return f'DELETE FROM "MB_NODE_BATCH" WHERE "LANE"={marker.lane} AND "BATCH" BETWEEN {old[0]} AND {old[-1]}; '


class PostgreSql:
    """One database of a PostgreSQL server."""

    engine = "postgresql+asyncpg://"
    sessions_may_hang = True

    def __init__(
        self,
        url: StoreUrl,
        options: ConnectionOptions,
        timeouts: SessionTimeouts | None = None,
        *,
        servers: Servers | None = None,
        needs_writes: bool = True,
    ) -> None:
        """`servers` and `needs_writes` are those of `MySql`."""
        timeouts = timeouts or SessionTimeouts()
        self._idle = timeouts.idle
        # A longer wait for a lock would hold up every publisher, and a connection that broke must not keep its locks.
        self._session = _SESSION | {
            "idle_in_transaction_session_timeout": str(int(timeouts.idle * 1000)),
            "lock_timeout": str(int(timeouts.lock * 1000)),
            "statement_timeout": str(int(timeouts.statement * 1000)),
        }
        if options.schema:
            self._session["search_path"] = options.schema
        # Not with the log-in: a pooler would refuse settings that it does not know. A commit must be on disk when it
        # returns; a stronger setting of the user, `remote_apply`, is kept.
        settings = ",".join(f"set_config('{name}',{_quoted(value)},false)" for name, value in self._session.items())
        self._set_up = (
            f"SELECT {settings};SELECT set_config('synchronous_commit','on',false)"
            " WHERE current_setting('synchronous_commit') IN ('off','local','remote_write')"
        )
        self._url = url
        self._options = options
        self._judged: object = None
        self._warned: WeakSet[Any] = WeakSet()
        self._prepared: WeakSet[Any] = WeakSet()
        self._needs_writes = needs_writes
        self._names = HostNames()
        self.servers = servers or Servers(url)
        self.where = self.servers.where

    # Connections

    async def connect(self, address: Address | None = None) -> Any:
        url, options = self._url, self._options
        host, port = address or url.addresses[0]
        if not options.unix_socket:
            await self._names.check(host)
        raw = await asyncpg.connect(
            host=str(options.unix_socket) if options.unix_socket else host,
            port=port,
            user=url.user_name or None,
            password=url.password.get_secret_value() or None,
            database=url.database,
            ssl="prefer" if options.tls == "prefer" else tls_context(options) or False,
            server_settings={"application_name": options.application_name},
        )
        try:
            keep_alive(raw._transport)
            await raw.execute(self._set_up)
            if self._needs_writes:
                await _refuse_read_only(raw)
        except (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError) as error:
            self.abort(raw)
            raise self._shared_sessions() from error
        except BaseException:
            self.abort(raw)
            raise
        raw.add_log_listener(self._on_notice)
        return raw

    async def identity(self, raw: Any) -> int | None:
        try:
            return await raw.fetchval(_IDENTITY) or UNNAMED
        except asyncpg.UndefinedTableError:
            return None

    def _on_notice(self, raw: Any, notice: Any) -> None:
        # Only a warning tells that a commit did not wait for the standby. Its text depends on the server's language.
        if notice.sqlstate == "01000" and notice.server_source_filename == _STANDBY_WAIT:
            self._warned.add(raw)
            self.servers.on_not_replicated()

    def refuse_unreplicated(self, raw: Any) -> None:
        if raw in self._warned:
            self._warned.discard(raw)
            raise NotReplicated("the commit did not wait for the synchronous standby")

    async def write_anyway(self, connection: AsyncConnection) -> None:
        await connection.exec_driver_sql(_WRITE_ANYWAY)

    def abort(self, raw: Any) -> None:
        if not raw.is_closed():
            raw.terminate()

    def failure(self, error: BaseException) -> Failure:
        if isinstance(error, ssl.SSLCertVerificationError) or "rejected SSL upgrade" in str(error):
            return Failure.REFUSED  # an operator must correct the certificate, or switch TLS on
        if isinstance(error, OSError | EOFError):
            return Failure.LOST
        code = getattr(error, "sqlstate", None) or ""
        if code in _BY_CODE:
            return _BY_CODE[code]
        if code[:2] in _BY_CLASS:
            return _BY_CLASS[code[:2]]
        # Calls on a closed connection and incomplete answers carry no code; uvloop raises an error of its own.
        is_lost = isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError | RuntimeError)
        return Failure.LOST if is_lost else Failure.BUG

    def has_local_locks(self, raw: Any) -> bool:
        return False

    async def end_hung_sessions(self, raw: Any) -> int:
        ended = await raw.fetch(_END_HUNG_SESSIONS, self._options.application_name, self._idle)
        return len(ended)

    async def describe(self, raw: Any) -> str:
        return f"PostgreSQL {(await raw.fetchval('SHOW server_version')).partition(' ')[0]}"

    async def check_safety(self, raw: Any) -> list[str]:
        rows = await raw.fetch("SELECT name, current_setting(name) FROM unnest($1::text[]) AS name", _SETTINGS)
        settings: dict[str, str] = dict(rows)
        standbys, synchronous, known = await raw.fetchrow(_STANDBYS)
        absent = [row[0] for row in await raw.fetch(_ABSENT)]
        told = settings | {"standbys": standbys, "absent": absent}
        if told != self._judged:
            self._judged = told
            _log.info("what a commit means", where=self.servers.in_use, **told)
        return list(postgresql_findings(settings, standbys, synchronous if known else None, absent))

    async def refuse_shared_sessions(self, raw: Any, other: Any) -> None:
        if await shares_session(raw, other):
            raise self._shared_sessions()

    def _shared_sessions(self) -> ConfigError:
        return ConfigError(
            f"a pooler at {self.where} lends sessions for one transaction or one statement (PgBouncer:"
            " pool_mode=transaction or statement); connect to PostgreSQL itself, or set pool_mode=session for this"
            " database"
        )

    async def lock(self, raw: Any, name: str, *, wait: float, silence: float) -> bool:
        digest = hashlib.sha256(f"cordillera/{self._options.schema}/{name}".encode()).digest()
        key = int.from_bytes(digest[:8], "big", signed=True)
        if not wait:
            return bool(await raw.fetchval("SELECT pg_try_advisory_lock($1)", key))
        await raw.execute(f"SET lock_timeout = {int(wait * 1000)}")
        try:
            await raw.execute("SELECT pg_advisory_lock($1)", key)
        except asyncpg.LockNotAvailableError:
            return False
        await raw.execute("RESET lock_timeout")  # to that of the session
        return True

    # Writing

    async def begin(self, raw: Any, marker: Marker, rows: Rows) -> bool:
        if raw not in self._prepared:
            await raw.execute(PREPARE)
            self._prepared.add(raw)
        if await raw.execute(f"BEGIN; {forget_batches(marker)}{count_batch(marker)}") != "INSERT 0 1":
            return False
        if rows.keyed:
            rows = await claim_in_postgresql(raw, rows)
        if rows.appends:
            await append_in_postgresql(raw, rows.appends, rows.duplicates)
        if rows.inline:
            await raw.copy_records_to_table("MB_METADATA", records=rows.inline, columns=_INLINE)
        for start in range(0, len(rows.contents), _CONTENT_ROWS_PER_STATEMENT):
            names, offsets, pieces = zip(*rows.contents[start : start + _CONTENT_ROWS_PER_STATEMENT], strict=True)
            await raw.execute(_CONTENT, names, offsets, pieces)
        if rows.shared:
            await raw.copy_records_to_table("MB_METADATA", records=rows.shared, columns=_SHARED)
        if rows.expirations:
            await raw.execute(_EXPIRATIONS, *zip(*rows.expirations, strict=True))
        if rows.grouped:
            await raw.execute(_GROUPS, *zip(*rows.grouped, strict=True))
        for deliveries, ids in rows.recounts.items():
            await raw.execute(_RECOUNT, ids, deliveries)
        if rows.deletes:
            await raw.execute(_DELETE, rows.deletes)
        if rows.expired:
            await raw.execute(_DELETE_EXPIRATIONS, rows.expired)
        if rows.ungrouped:
            await raw.execute(_DELETE_GROUPS, rows.ungrouped)
        if rows.slots:
            await raw.execute(_SLOT, *zip(*rows.slots, strict=True))
        if rows.prepared or rows.resolved:
            await change_in_postgresql(raw, rows)
        if rows.purges:
            await self._purge(raw, rows.purges)
        if rows.released:
            await raw.execute(_DELETE_ORPHANS, rows.released)
        if rows.high_water:
            await raw.execute(_HIGH_WATER, postgresql_text(marker.node_id), rows.high_water)
        return True

    async def _purge(self, raw: Any, slots: Sequence[Slot]) -> None:
        signs = {slot.queue_id: [slot.queue_id, -slot.queue_id] for slot in slots}
        expiring = {queue_id for queue_id, both in signs.items() if await raw.fetchval(_HAS_EXPIRATIONS, both)}
        for slot in slots:
            arguments = (signs[slot.queue_id], slot.start, slot.end, slot.lane)
            named = await raw.fetch(_PURGE_NAMED, *arguments)
            gone = await raw.fetch(_PURGED, *arguments) if slot.queue_id in expiring else ()
            await raw.execute(_PURGE, *arguments)
            await raw.execute(_PURGE_GROUPS, *arguments)
            if gone:
                await raw.execute(_DELETE_EXPIRATIONS, sorted(row[0] for row in gone))
            if named:
                await raw.execute(_DELETE_ORPHANS, sorted(row[0] for row in named))

    async def commit(self, raw: Any) -> None:
        answer = await raw.execute("COMMIT")
        if answer != "COMMIT":
            raise StoreUnavailable(f"{self.where}: the commit was answered with {answer}")
        self.refuse_unreplicated(raw)

    async def roll_back(self, raw: Any) -> None:
        await raw.execute("ROLLBACK")

    async def incarnations(self, raw: Any) -> list[str]:
        return [row[0] for row in await raw.fetch('SELECT "INCARNATION" FROM "MB_NODE" WHERE "INCARNATION"<>\'\'')]

    async def last_batch(self, raw: Any, marker: Marker) -> int | None:
        await raw.execute("BEGIN")
        # An exclusive lock waits for every batch under way, and is written to the log as any change is.
        lane = await raw.fetchval(
            'SELECT "LANE" FROM "MB_NODE" WHERE "LANE"=$1 AND "INCARNATION"=$2 FOR UPDATE',
            marker.lane,
            marker.incarnation,
        )
        batch: int | None = await raw.fetchval('SELECT max("BATCH") FROM "MB_NODE_BATCH" WHERE "LANE"=$1', lane)
        await self.commit(raw)
        return batch

    async def assign(self, raw: Any, rows: Sequence[SlotRow], incarnation: Incarnation, fence: Fence) -> bool:
        await raw.execute("BEGIN")
        is_passed = await raw.fetchval(_PASS_FENCE, fence.epoch, postgresql_text(fence.term)) == 1
        names = [postgresql_text(name) for name in (incarnation.node_id, incarnation.id)]
        starts, ends = [row.start for row in rows], [row.end for row in rows]
        is_done: bool = is_passed and await raw.execute(_ASSIGN, *names, starts, ends) == f"UPDATE {len(rows)}"
        if is_done:
            await self.commit(raw)
        else:
            await raw.execute("ROLLBACK")
        return is_done

    async def free_room(self, raw: Any) -> None:
        await raw.execute(
            'VACUUM "MB_METADATA", "MB_CONTENT", "MB_EXPIRATION_DATA", "MB_STREAM_SEGMENT", "MB_MESSAGE_GROUP"'
        )

    async def probe(self, raw: Any, node_id: str) -> None:
        await raw.execute(_PROBE, postgresql_text(node_id))

    async def time_ms(self, raw: Any) -> int:
        return int(await raw.fetchval("SELECT floor(EXTRACT(EPOCH FROM clock_timestamp())*1000)::bigint"))

    # Reading

    async def begin_read(self, raw: Any) -> None:
        await raw.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    async def read_slot(self, raw: Any, slot: Slot, limit: int) -> list[IndexRow]:
        statement = _BOTH if slot.transient else _STORED
        return _index_rows(await raw.fetch(statement, slot.queue_id, slot.start, slot.end, slot.lane, limit))

    async def read_due_keys(self, raw: Any, queue_id: int, until_ms: int, after: DueKey, limit: int) -> list[DueKey]:
        return [tuple(row) for row in await raw.fetch(_DUE_KEYS, queue_id, *after, until_ms, limit)]

    async def read_rows(self, raw: Any, queue_id: int, message_ids: Sequence[int]) -> list[IndexRow]:
        return _index_rows(await raw.fetch(_LISTED, message_ids, [queue_id, -queue_id]))

    async def read_bodies(self, raw: Any, message_ids: Sequence[int]) -> dict[int, bytes]:
        return dict(await raw.fetch(_BODIES, message_ids))

    async def read_metadata(self, raw: Any, message_ids: Sequence[int]) -> dict[int, bytes]:
        return dict(await raw.fetch(_METADATA, message_ids))

    async def read_contents(self, raw: Any, content_ids: Sequence[int]) -> dict[int, bytes]:
        return joined_contents(await raw.fetch(_CONTENTS, content_ids))

    async def end_read(self, raw: Any) -> None:
        await raw.execute("COMMIT")


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


async def _refuse_read_only(raw: Any) -> None:
    """Raise `StoreUnavailable` when the server takes no writes."""
    settings = raw.get_settings()
    is_standby = getattr(settings, "in_hot_standby", None)
    if is_standby is None:  # before version 14 a server does not tell
        is_standby = "on" if await raw.fetchval("SELECT pg_is_in_recovery()") else "off"
    if is_standby == "on":
        raise StoreUnavailable("this server is a standby and takes no writes")
    if getattr(settings, "default_transaction_read_only", "off") == "on":
        raise StoreUnavailable("this server takes no writes (default_transaction_read_only is on)")


def _index_rows(rows: list[Any]) -> list[IndexRow]:
    return [IndexRow(row[0], row[1] < 0, row[2] or 0, *row[3:]) for row in rows]
