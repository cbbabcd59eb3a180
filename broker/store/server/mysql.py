"""The dialect of MariaDB and MySQL: its sessions, its error codes and its hot statements.

The text of the hot statements is in `mysql_statements`.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterator, Sequence
from functools import partial
from math import ceil
from typing import Any, Final

import aiomysql
import pymysql
import structlog
from pymysql.constants import CLIENT

from broker.config.connection_options import ConnectionOptions
from broker.config.store_url import StoreUrl
from broker.errors import ConfigError
from broker.machine.address import endpoint
from broker.ports.cluster_rows import Incarnation, SlotRow
from broker.ports.peer_calls import Fence
from broker.ports.slot import Slot
from broker.ports.store import DueKey
from broker.store.server.batch import Rows, joined_contents
from broker.store.server.branches import change_in_mysql
from broker.store.server.dialect import IndexRow, Marker
from broker.store.server.engine import Failure, SessionTimeouts, keep_alive
from broker.store.server.keys import claim_in_mysql
from broker.store.server.mysql_statements import (
    assign,
    beginning,
    delete_expirations,
    delete_orphans,
    due_keys,
    has_expirations,
    in_slot,
    listed_rows,
    packets,
    page,
    parts,
)
from broker.store.server.streams import append_in_mysql
from broker.store.server.tls import tls_context

_log = structlog.get_logger(__name__)

_CODES: Final = {
    Failure.CONFLICT: (1213, 1205, 1020),
    Failure.LOST: (1053, 1080, 1152, 1158, 1159, 1160, 1161, 1184, 1927, 2002, 2003, 2006, 2013, 2014, 2055, 4031),
    Failure.FULL: (1021, 1114, 1026, 3),
    # The last five codes come from a server that takes no writes, such as a replica.
    Failure.BUSY: (1040, 1129, 1041, 1037, 1038, 1135, 1203, 1226, 1969, 3024, 1317, 1290, 1792, 1836, 1047, 3100),
    Failure.REFUSED: (1044, 1045, 1049, 1142, 1143, 1227, 1251, 1698, 1130, 2059, 2061),
}
_BY_CODE: Final = {code: failure for failure, codes in _CODES.items() for code in codes}

_ISOLATION: Final = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"
_SQL_MODE: Final = "sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'"
# MySQL cannot limit the time of an open transaction, only that of a session without statements.
_MYSQL_LIMIT: Final = "wait_timeout = 60"

_SMALLEST_PACKET: Final = 1 << 20
_LARGEST_STATEMENT: Final = 4 << 20


class MySql:
    """One database of a MariaDB or MySQL server."""

    engine = "mysql+aiomysql://"

    def __init__(self, url: StoreUrl, options: ConnectionOptions, timeouts: SessionTimeouts | None = None) -> None:
        self._timeouts = timeouts or SessionTimeouts()
        self._url = url
        self._options = options
        self._statement_limit = _LARGEST_STATEMENT
        self.where = f"{endpoint(url.host, url.port)}/{url.database}"

    # Connections

    async def connect(self) -> Any:
        url, options = self._url, self._options
        context = tls_context(options)
        raw = aiomysql.Connection(
            host=url.host,
            port=url.port,
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
        [(packet,)] = await _select(raw, "SELECT @@max_allowed_packet")
        if packet < _SMALLEST_PACKET:
            raise ConfigError(
                f"{self.where}: max_allowed_packet is {packet}; set it to {_SMALLEST_PACKET} or more (16M is usual)"
            )
        self._statement_limit = min(packet // 2, _LARGEST_STATEMENT)

    def _time_limits(self, is_mariadb: bool) -> Iterator[str]:
        timeouts = self._timeouts
        # A longer wait for a lock would hold up every publisher, and a connection that broke must not keep its locks.
        yield f"innodb_lock_wait_timeout = {ceil(timeouts.lock)}"
        if is_mariadb:
            yield f"idle_transaction_timeout = {ceil(timeouts.idle)}"
            yield f"max_statement_time = {timeouts.statement:g}"
        else:
            yield _MYSQL_LIMIT

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
        version = raw.get_server_info().removeprefix("5.5.5-")
        name = "MariaDB" if "mariadb" in version.lower() else "MySQL"
        return f"{name} {version.partition('-')[0]}"

    async def check_safety(self, raw: Any) -> list[str]:
        rows = await _select(
            raw,
            "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('innodb_flush_log_at_trx_commit', 'innodb_doublewrite',"
            " 'log_bin', 'sync_binlog', 'wsrep_on', 'rpl_semi_sync_master_enabled', 'rpl_semi_sync_source_enabled')",
        )
        settings = {str(name): str(value).upper() for name, value in rows}
        _log.info("what a commit means", where=self.where, **settings)
        found = []
        if settings.get("innodb_flush_log_at_trx_commit", "1") != "1":
            found.append(
                f"innodb_flush_log_at_trx_commit is {settings['innodb_flush_log_at_trx_commit']}, not 1:"
                " a power failure loses the last second"
            )
        if settings.get("innodb_doublewrite", "ON") == "OFF":
            found.append("innodb_doublewrite is OFF, not ON: a power failure can tear a page")
        if settings.get("log_bin") == "ON" and settings.get("sync_binlog", "1") != "1":
            found.append(
                f"sync_binlog is {settings['sync_binlog']}, not 1: after a power failure log and tables can differ"
            )
        is_synchronous = "ON" in {settings.get(name) for name in settings if name.startswith(("rpl_semi", "wsrep"))}
        replicas = await _select(raw, "SHOW GLOBAL STATUS WHERE Variable_name IN ('Slaves_connected')")
        if any(int(count) for _, count in replicas) and not is_synchronous:
            found.append(
                "replicas are asynchronous (no semi-sync, no Galera): a fail-over loses what they have not yet"
            )
        return found

    async def lock(self, raw: Any, name: str, *, wait: float, silence: float) -> bool:
        await _execute(raw, f"SET SESSION wait_timeout = {int(silence)}")
        # The names of locks are shared by all databases of a server and have at most 64 characters.
        digest = hashlib.sha256(f"{self._url.database}/{name}".encode()).hexdigest()[:32]
        [(taken,)] = await _select(raw, f"SELECT GET_LOCK('cordillera-{digest}', {wait:g})")
        return bool(taken)

    # Writing

    async def begin(self, raw: Any, marker: Marker, rows: Rows) -> bool:
        counts: list[int] = []
        if rows.keyed:
            counts = await _execute(raw, beginning(marker))
            rows = await claim_in_mysql(lambda statement: _execute(raw, statement), partial(_select, raw), rows)
        for packet in packets(marker, rows, self._statement_limit, is_begun=bool(rows.keyed)):
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
        return counts[1] == 1

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
            await _execute(raw, f"DELETE FROM MB_METADATA WHERE {condition}")
            for statement in delete_expirations(sorted(message_id for (message_id,) in gone)):
                await _execute(raw, statement)
            await self._delete_orphans(raw, sorted(content_id for (content_id,) in named))

    async def _delete_orphans(self, raw: Any, content_ids: Sequence[int]) -> None:
        for statement in delete_orphans(content_ids):
            await _execute(raw, statement)

    async def commit(self, raw: Any) -> None:
        await _execute(raw, "COMMIT")

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
        counts = await _execute(raw, assign(rows, incarnation, fence))
        is_done = counts == [0, 1, 1, len(rows)]
        if is_done:
            await self.commit(raw)
        else:
            await _execute(raw, "ROLLBACK")
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
        await _execute(
            raw,
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
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


async def _select(raw: Any, statement: str) -> list[Any]:
    await raw.query(statement)
    return list(raw._result.rows)
