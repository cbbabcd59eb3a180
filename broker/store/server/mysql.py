"""The dialect of MariaDB and MySQL: its sessions, its error codes and its hot statements.

The text of the hot statements is in `mysql_statements`.
"""

from __future__ import annotations

import hashlib
import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from math import ceil
from typing import Any, Final
from weakref import WeakSet

import aiomysql
import pymysql
import structlog
from pymysql.constants import CLIENT, ER
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.config.connection_options import ConnectionOptions
from broker.config.server_hosts import Address
from broker.config.store_url import StoreUrl
from broker.errors import ConfigError, StoreUnavailable
from broker.machine.host_names import HostNames
from broker.ports.cluster_rows import Incarnation, SlotRow
from broker.ports.peer_calls import Fence
from broker.ports.slot import Slot
from broker.ports.store import DueKey
from broker.store.server.addresses import Servers
from broker.store.server.batch import Rows, joined_contents
from broker.store.server.branches import change_in_mysql
from broker.store.server.dialect import IndexRow, Marker
from broker.store.server.engine import Failure, SessionTimeouts, keep_alive
from broker.store.server.keys import claim_in_mysql
from broker.store.server.mysql_statements import (
    assign,
    beginning,
    delete_expirations,
    delete_groups,
    delete_orphans,
    due_keys,
    has_expirations,
    in_slot,
    is_counted,
    listed_rows,
    packets,
    page,
    parts,
)
from broker.store.server.safety import MYSQL_STATUS, MYSQL_VARIABLES, UNANSWERED, mysql_findings
from broker.store.server.streams import append_in_mysql
from broker.store.server.tls import tls_context
from broker.store.sql.identity import NAME as IDENTITY
from broker.store.sql.identity import UNNAMED

_log = structlog.get_logger(__name__)

_CODES: Final = {
    # 3101 is MySQL's group replication; the codes above 8000 are TiDB's: conflicts of writes, a schema that has changed
    # meanwhile, a transaction that has ended by itself.
    Failure.CONFLICT: (1213, 1205, 1020, 3101, 8002, 8005, 8022, 8028, 8147, 8229, 9007),
    # 1180 is a commit of which a Galera node does not know what came of it, 8501 one of TiDB.
    Failure.LOST: (
        *(1053, 1080, 1152, 1158, 1159, 1160, 1161, 1180, 1184, 1927),
        *(2002, 2003, 2006, 2013, 2014, 2055, 4031, 8501),
    ),
    Failure.FULL: (1021, 1114, 1026, 3),
    # 1047 is a Galera node that is not ready; 3796 and 3797 are of group replication. Of TiDB: no memory (8001, 8175),
    # limits that an operator can raise meanwhile (8004, 8025, 8252, 9500), and other servers of it that do not answer.
    Failure.BUSY: (
        *(1040, 1129, 1041, 1037, 1038, 1135, 1203, 1226, 1969, 3024, 1317, 1047, 3100, 3796, 3797),
        *(8001, 8004, 8025, 8027, 8055, 8120, 8175, 8252),
        *(9001, 9002, 9003, 9004, 9005, 9006, 9008, 9010, 9500),
    ),
    Failure.READ_ONLY: (1290, 1792, 1836),
    Failure.REFUSED: (1044, 1045, 1049, 1142, 1143, 1227, 1251, 1698, 1130, 2059, 2061),
}
_BY_CODE: Final = {code: failure for failure, codes in _CODES.items() for code in codes}

_ISOLATION: Final = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"
_SQL_MODE: Final = "sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'"
# MySQL cannot limit the time of an open transaction, only that of a session without statements.
_MYSQL_LIMIT: Final = "wait_timeout = 60"

_READ_ONLY: Final = (
    *("read_only", "super_read_only", "innodb_read_only"),
    *("tidb_restricted_read_only", "tidb_super_read_only"),
)
_LAZY_CHECK: Final = "tidb_constraint_check_in_place_pessimistic"
_VARIABLES: Final = ("max_allowed_packet", *_READ_ONLY, "wsrep_on", "tidb_enable_noop_functions", _LAZY_CHECK)
_OLDEST_TIDB: Final = (6, 2)
"""The first version with savepoints; locks by name it has had since 6.1."""
# A transaction sees what was committed on any server before it began.
_SEE_OTHERS: Final = "SET SESSION wsrep_sync_wait = 15"

# A row that means nothing: the replica has to answer for it as for any other.
_WRITE_ANYWAY: Final = (
    "INSERT INTO MB_MSG_STORE_STATUS (NODE_ID,TIME_STAMP) VALUES ('(commit in doubt)',1)"
    " ON DUPLICATE KEY UPDATE TIME_STAMP=TIME_STAMP+1"
)

_IDENTITY: Final = f"SELECT NEXT_VALUE FROM MB_SEQUENCE WHERE NAME='{IDENTITY}';COMMIT"

_SMALLEST_PACKET: Final = 1 << 20
_LARGEST_STATEMENT: Final = 4 << 20


class MySql:
    """One database of a MariaDB or MySQL server."""

    engine = "mysql+aiomysql://"
    sessions_may_hang = False
    """A request is one packet: a session that waits for one is idle."""

    def __init__(
        self,
        url: StoreUrl,
        options: ConnectionOptions,
        timeouts: SessionTimeouts | None = None,
        *,
        servers: Servers | None = None,
        needs_writes: bool = True,
    ) -> None:
        """`servers` is what other connections of the same store know of them. With `needs_writes` servers that take
        none are passed over.
        """
        self._timeouts = timeouts or SessionTimeouts()
        self._url = url
        self._options = options
        self._statement_limit = _LARGEST_STATEMENT
        self._needs_writes = needs_writes
        self._names = HostNames()
        self._with_local_locks: WeakSet[Any] = WeakSet()
        self._judged: object = None
        self._unanswered: tuple[str, int] | None = None
        """The server that was judged last, and how many of its commits no replica has answered."""
        self.servers = servers or Servers(url)
        self.where = self.servers.where

    # Connections

    async def connect(self, address: Address | None = None) -> Any:
        url, options = self._url, self._options
        host, port = address or url.addresses[0]
        if not options.unix_socket:
            await self._names.check(host)
        context = tls_context(options)
        raw = aiomysql.Connection(
            host=host,
            port=port,
            user=url.user_name,
            password=url.password.get_secret_value(),
            db=url.database,
            unix_socket=str(options.unix_socket) if options.unix_socket else None,
            charset="utf8mb4",
            autocommit=False,
            client_flag=CLIENT.FOUND_ROWS,
            ssl=context,
            program_name=options.application_name,
        )
        if options.tls not in ("disable", "prefer"):
            self._demand_tls(raw)
        try:
            await raw._connect()  # `aiomysql.connect` would leave the socket open when it is cancelled
            keep_alive(raw._writer.transport)
            await self._set_up(raw)
        except BaseException:
            self.abort(raw)
            raise
        return raw

    def _demand_tls(self, raw: Any) -> None:
        """Let `raw` check for TLS before it logs in: the driver would send the password without TLS, too."""
        greeted = raw._get_server_information

        async def greeted_with_tls() -> None:
            await greeted()
            if not raw.server_capabilities & CLIENT.SSL:
                raise ConfigError(f"{self.where} offers no TLS, but the datasource's URL demands it")

        raw._get_server_information = greeted_with_tls

    async def _set_up(self, raw: Any) -> None:
        is_mariadb = "mariadb" in raw.get_server_info().lower()
        await _execute(raw, _ISOLATION)
        # In one statement: on a network that loses packets each round trip counts.
        await _execute(raw, f"SET SESSION {', '.join((_SQL_MODE, *self._time_limits(is_mariadb)))}")
        variables = await _shown(raw, "VARIABLES", _VARIABLES)
        await self._judge(raw, variables)
        packet = int(variables["max_allowed_packet"])
        if packet < _SMALLEST_PACKET:
            raise ConfigError(
                f"{self.where}: max_allowed_packet is {packet}; set it to {_SMALLEST_PACKET} or more (16M is usual)"
            )
        self._statement_limit = min(packet // 2, _LARGEST_STATEMENT)

    async def _judge(self, raw: Any, variables: Mapping[str, str]) -> None:
        """Raise `StoreUnavailable` when the server cannot serve now what another one may."""
        if variables.get("wsrep_on") == "ON":
            status = await _shown(raw, "STATUS", ("wsrep_ready", "wsrep_cluster_status"))
            if status.get("wsrep_ready") != "ON":
                raise StoreUnavailable(
                    "this server of the Galera cluster is not ready"
                    f" (wsrep_cluster_status {status.get('wsrep_cluster_status')})"
                )
            await _execute(raw, _SEE_OTHERS)
            self._with_local_locks.add(raw)
        if is_tidb(raw):
            await self._judge_tidb(raw, variables)
        is_on = [name for name in _READ_ONLY if variables.get(name, "OFF") not in ("OFF", "0")]
        if is_on and self._needs_writes:
            raise StoreUnavailable(f"this server takes no writes ({is_on[0]} is {variables[is_on[0]]})")

    async def _judge_tidb(self, raw: Any, variables: Mapping[str, str]) -> None:
        """Set the session up. Raises `ConfigError` for a version, and for an option, with which it cannot serve."""
        version = tidb_version(raw)
        if _numbers(version) < _OLDEST_TIDB:
            raise ConfigError(f"{self.where}: TiDB {version} has no savepoints; version 6.2 or later is needed")
        if variables.get("tidb_enable_noop_functions", "OFF") != "OFF":
            raise ConfigError(
                f"{self.where}: tidb_enable_noop_functions is {variables['tidb_enable_noop_functions']}: TiDB then"
                " accepts locks that lock nothing; set it to OFF"
            )
        settings = ["tidb_txn_mode = 'pessimistic'"]
        if variables.get(_LAZY_CHECK) == "OFF":  # a key that is there would only be found by the commit
            settings.append(f"{_LAZY_CHECK} = ON")
        await _execute(raw, f"SET SESSION {', '.join(settings)}")
        self._with_local_locks.add(raw)

    async def identity(self, raw: Any) -> int | None:
        try:
            await raw.query(_IDENTITY)
        except pymysql.err.ProgrammingError as error:
            if error.args[0] != ER.NO_SUCH_TABLE:
                raise
            return None
        rows = list(raw._result.rows)
        await raw.next_result()
        return int(rows[0][0]) if rows else UNNAMED

    async def end_hung_sessions(self, raw: Any) -> int:
        return 0

    def has_local_locks(self, raw: Any) -> bool:
        return raw in self._with_local_locks

    def _time_limits(self, is_mariadb: bool) -> Iterator[str]:
        timeouts = self._timeouts
        # A longer wait for a lock would hold up every publisher, and a connection that broke must not keep its locks.
        yield f"innodb_lock_wait_timeout = {ceil(timeouts.lock)}"
        if is_mariadb:
            yield f"idle_transaction_timeout = {ceil(timeouts.idle)}"
            yield f"max_statement_time = {timeouts.statement:g}"
        else:
            yield _MYSQL_LIMIT

    def refuse_unreplicated(self, raw: Any) -> None:
        """Do nothing: a primary that gives up its replicas tells no client, only its status (`check_safety`)."""

    async def write_anyway(self, connection: AsyncConnection) -> None:
        if self._needs_writes:
            try:
                await connection.exec_driver_sql(_WRITE_ANYWAY)
            except ProgrammingError as error:  # there is no schema yet, or it is another one
                if error.orig is None or error.orig.args[0] != ER.NO_SUCH_TABLE:
                    raise

    def abort(self, raw: Any) -> None:
        writer = raw._writer  # `close` alone would first send what is still in the buffer
        raw.close()
        if writer is not None:
            writer.transport.abort()

    def failure(self, error: BaseException) -> Failure:
        if isinstance(error, ssl.SSLCertVerificationError):
            return Failure.REFUSED
        if isinstance(error, OSError | EOFError):
            return Failure.LOST
        code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        if code == 2003 and isinstance(error.__cause__, ssl.SSLCertVerificationError):
            return Failure.REFUSED
        if code == 1030 and "28" in str(error.args[1]):  # the engine's own error is the system's ENOSPC
            return Failure.FULL
        if isinstance(error, RuntimeError):  # a login method without its library, or uvloop on a closed socket
            return Failure.REFUSED if "package" in str(error) else Failure.LOST
        if code in _BY_CODE:
            return _BY_CODE[code]
        # Answers that do not fit their requests, and calls on a closed connection, carry no error code.
        is_lost = isinstance(error, pymysql.err.InterfaceError | pymysql.err.InternalError) and not code
        return Failure.LOST if is_lost or "Packet sequence" in str(error) else Failure.BUG

    async def describe(self, raw: Any) -> str:
        version = str(raw.get_server_info()).removeprefix("5.5.5-")
        if is_tidb(raw):
            return f"TiDB {tidb_version(raw)}"
        name = "MariaDB" if "mariadb" in version.lower() else "MySQL"
        product = f"{name} {version.partition('-')[0]}"
        if not self.has_local_locks(raw):
            return product
        size = await _shown(raw, "STATUS", ("wsrep_cluster_size",))
        return f"{product} (Galera, servers: {size.get('wsrep_cluster_size')})"

    async def check_safety(self, raw: Any) -> list[str]:
        if is_tidb(raw):  # it commits on a majority of its own servers, and InnoDB's variables mean nothing there
            return []
        variables = await _shown(raw, "GLOBAL VARIABLES", MYSQL_VARIABLES)
        status = await _shown(raw, "GLOBAL STATUS", MYSQL_STATUS)
        self._tell_unanswered(sum(int(status.pop(name, "0")) for name in UNANSWERED))
        if (variables, status) != self._judged:
            self._judged = variables, status
            _log.info("what a commit means", where=self.servers.in_use, **variables, **status)
        return list(mysql_findings(variables, status))

    def _tell_unanswered(self, count: int) -> None:
        """Tell of commits since the last look for which no replica has answered, of whichever client."""
        server = self.servers.in_use
        before, self._unanswered = self._unanswered, (server, count)
        if before is not None and before[0] == server and before[1] < count:
            _log.warning(
                "commits were done that no replica has answered",
                server=server,
                commits=count - before[1],
                advice="a fail-over may lose them; set rpl_semi_sync_master_timeout to an hour or more",
            )

    async def refuse_shared_sessions(self, raw: Any, other: Any) -> None:
        """Do nothing: a proxy for MySQL keeps a session that has settings of its own."""

    async def lock(self, raw: Any, name: str, *, wait: float, silence: float) -> bool:
        await _execute(raw, f"SET SESSION wait_timeout = {int(silence)}")
        # The names of locks are shared by all databases of a server and have at most 64 characters.
        digest = hashlib.sha256(f"{self._url.database}/{name}".encode()).hexdigest()[:32]
        [(taken,)] = await _select(raw, f"SELECT GET_LOCK('cordillera-{digest}', {wait:g})")
        return bool(taken)

    # Writing

    async def begin(self, raw: Any, marker: Marker, rows: Rows) -> bool:
        counts: list[int] = []
        has_local_locks = self.has_local_locks(raw)
        if rows.keyed:
            counts = await _execute(raw, beginning(marker, has_local_locks=has_local_locks))
            rows = await claim_in_mysql(lambda statement: _execute(raw, statement), partial(_select, raw), rows)
        limit = self._statement_limit
        for packet in packets(marker, rows, limit, is_begun=bool(rows.keyed), has_local_locks=has_local_locks):
            counts += await _execute(raw, packet)
        if rows.appends:
            await append_in_mysql(
                lambda statement: _execute(raw, statement), partial(_select, raw), rows.appends, rows.duplicates
            )
        if rows.prepared or rows.resolved:
            await change_in_mysql(lambda statement: _execute(raw, statement), rows)
        if rows.purges:
            await self._purge(raw, rows.purges)
        if rows.released:
            await self._delete_orphans(raw, rows.released)
        return is_counted(counts, has_local_locks=has_local_locks)

    async def _purge(self, raw: Any, slots: Sequence[Slot]) -> None:
        queue_ids = {slot.queue_id for slot in slots}
        expiring = {queue_id for queue_id in queue_ids if await _select(raw, has_expirations(queue_id))}
        for slot in slots:
            condition = in_slot(slot, f"{slot.queue_id},{-slot.queue_id}")
            named = await _select(
                raw, f"SELECT DISTINCT CONTENT_ID FROM MB_METADATA WHERE {condition} AND CONTENT_ID IS NOT NULL"
            )
            gone: list[Any] = []
            if slot.queue_id in expiring:
                gone = await _select(raw, f"SELECT MESSAGE_ID FROM MB_METADATA WHERE {condition}")
            await _execute(raw, f"DELETE FROM MB_METADATA WHERE {condition};{delete_groups(slot)}")
            for statement in delete_expirations(sorted(message_id for (message_id,) in gone)):
                await _execute(raw, statement)
            await self._delete_orphans(raw, sorted(content_id for (content_id,) in named))

    async def _delete_orphans(self, raw: Any, content_ids: Sequence[int]) -> None:
        for statement in delete_orphans(content_ids):
            await _execute(raw, statement)

    async def commit(self, raw: Any) -> None:
        await _execute(raw, "COMMIT")

    async def roll_back(self, raw: Any) -> None:
        await _execute(raw, "ROLLBACK")

    async def incarnations(self, raw: Any) -> list[str]:
        return [str(name) for (name,) in await _select(raw, "SELECT INCARNATION FROM MB_NODE WHERE INCARNATION<>''")]

    async def last_batch(self, raw: Any, marker: Marker) -> int | None:
        ours = f"LANE={marker.lane} AND INCARNATION='{marker.incarnation}'"
        # An update locks the row exclusively, and so waits for every batch under way. One that changes nothing writes
        # no log, and its commit would not wait until earlier ones are on disk.
        there_and_back = ";".join(f"UPDATE MB_NODE SET BATCH=BATCH{step} WHERE {ours}" for step in ("+1", "-1"))
        [_, found, _] = await _execute(raw, f"BEGIN;{there_and_back}")
        [(batch,)] = await _select(raw, f"SELECT MAX(BATCH) FROM MB_NODE_BATCH WHERE LANE={marker.lane}")
        await _execute(raw, "COMMIT")
        return batch if found else None

    async def assign(self, raw: Any, rows: Sequence[SlotRow], incarnation: Incarnation, fence: Fence) -> bool:
        counts = await _execute(raw, assign(rows, incarnation, fence, has_local_locks=self.has_local_locks(raw)))
        is_done = counts == [0, 1, 1, len(rows)]
        await (self.commit(raw) if is_done else self.roll_back(raw))
        return is_done

    async def free_room(self, raw: Any) -> None:
        """Do nothing: InnoDB's purge does it all the time."""

    async def probe(self, raw: Any, node_id: str) -> None:
        await _execute(
            raw,
            "BEGIN;INSERT INTO MB_MSG_STORE_STATUS (NODE_ID,TIME_STAMP)"
            f" VALUES (x'{node_id.encode().hex()}',UNIX_TIMESTAMP(NOW(3))*1000)"
            " ON DUPLICATE KEY UPDATE TIME_STAMP=VALUES(TIME_STAMP);COMMIT",
        )

    async def time_ms(self, raw: Any) -> int:
        # UNIX_TIMESTAMP(NOW()) would be an hour wrong in the hour that summer time repeats.
        [(microseconds,)] = await _select(raw, "SELECT TIMESTAMPDIFF(MICROSECOND,'1970-01-01',UTC_TIMESTAMP(6))")
        return int(microseconds) // 1000

    # Reading

    async def begin_read(self, raw: Any) -> None:
        # Without READ ONLY, which costs nothing: TiDB takes only one characteristic.
        await _execute(
            raw, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;START TRANSACTION WITH CONSISTENT SNAPSHOT"
        )

    async def read_slot(self, raw: Any, slot: Slot, limit: int) -> list[IndexRow]:
        return _index_rows(await _select(raw, page(slot, limit)))

    async def read_due_keys(self, raw: Any, queue_id: int, until_ms: int, after: DueKey, limit: int) -> list[DueKey]:
        return await _select(raw, due_keys(queue_id, until_ms, after, limit))

    async def read_rows(self, raw: Any, queue_id: int, message_ids: Sequence[int]) -> list[IndexRow]:
        found: list[IndexRow] = []
        for statement in listed_rows(queue_id, message_ids):
            found += _index_rows(await _select(raw, statement))
        return found

    async def read_bodies(self, raw: Any, message_ids: Sequence[int]) -> dict[int, bytes]:
        return await _read_column(raw, "MESSAGE_CONTENT", message_ids)

    async def read_metadata(self, raw: Any, message_ids: Sequence[int]) -> dict[int, bytes]:
        return await _read_column(raw, "MESSAGE_METADATA", message_ids)

    async def read_contents(self, raw: Any, content_ids: Sequence[int]) -> dict[int, bytes]:
        pieces: list[tuple[int, bytes]] = []
        for ids in parts(content_ids):
            pieces += await _select(
                raw,
                f"SELECT MESSAGE_ID,MESSAGE_CONTENT FROM MB_CONTENT WHERE MESSAGE_ID IN ({ids})"
                " ORDER BY MESSAGE_ID,CONTENT_OFFSET",
            )
        return joined_contents(pieces)

    async def end_read(self, raw: Any) -> None:
        await _execute(raw, "COMMIT")


def is_tidb(raw: Any) -> bool:
    """Return whether a connection is to TiDB, which names itself where MySQL's clients look for the version."""
    return "tidb" in str(raw.get_server_info()).lower()


def tidb_version(raw: Any) -> str:
    """Return the version of TiDB itself, behind that of the MySQL it is compatible with."""
    return str(raw.get_server_info()).partition("TiDB-")[2]


def _numbers(version: str) -> tuple[int, ...]:
    """Return the first two numbers of a version as `v7.5.1-pre`."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


async def _execute(raw: Any, statements: str) -> list[int]:
    """Run `statements`, joined by semicolons, and return how many rows each of them has found."""
    counts = [await raw.query(statements)]
    while raw._result.has_next:
        counts.append(await raw.next_result())
    return counts


def _index_rows(rows: list[Any]) -> list[IndexRow]:
    return [
        IndexRow(message_id, queue_id < 0, content_id or 0, redelivered, *rest)
        for message_id, queue_id, content_id, redelivered, *rest in rows
    ]


async def _read_column(raw: Any, column: str, message_ids: Sequence[int]) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    for ids in parts(message_ids):
        found.update(await _select(raw, f"SELECT MESSAGE_ID,{column} FROM MB_METADATA WHERE MESSAGE_ID IN ({ids})"))
    return found


async def _shown(raw: Any, what: str, names: Sequence[str]) -> dict[str, str]:
    """Return variables or the status of a server, those of these names that it has."""
    listed = ",".join(f"'{name}'" for name in names)
    rows = await _select(raw, f"SHOW {what} WHERE Variable_name IN ({listed})")
    return {str(name): str(value) for name, value in rows}


async def _select(raw: Any, statement: str) -> list[Any]:
    await raw.query(statement)
    return list(raw._result.rows)
