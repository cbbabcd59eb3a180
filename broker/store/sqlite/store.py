"""The embedded store: one SQLite file, one thread that writes and one that reads (ADR 9).

Only the writing connection writes and checkpoints: SQLite has had bugs with two connections that checkpoint at once.
"""

from __future__ import annotations

import asyncio
import errno
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import structlog
from sqlalchemy import Connection, Engine, StaticPool, create_engine, event
from sqlalchemy.exc import DBAPIError

from broker.clock import SystemClock
from broker.codec.expiration import LATEST
from broker.errors import StoreError, StoreFull, StoreUnavailable
from broker.message import TRANSIENT, Message, StorageQueue
from broker.ports.branches import BranchKey, PreparedBranch, Xid
from broker.ports.cluster_rows import Incarnation
from broker.ports.finding import FoundPage
from broker.ports.groups import GroupPage
from broker.ports.records import Change, Drop, Topology
from broker.ports.slot import Slot
from broker.ports.store import Batch, DueKey, KeyPlace, KeySweep, Registration, StoreLook
from broker.ports.streams import ReaderPlace, StreamBounds, StreamPage, TrimRule
from broker.store.rows import ids_by_deliveries, name_large_content, octets_in_rows
from broker.store.sql import branches, damaged, groups, keys, migrate, nodes, streams
from broker.store.sql.cluster_store import SqlClusterStore
from broker.store.sql.fencing import check_incarnation
from broker.store.sql.messages import discarded_bodies
from broker.store.sql.shared_store import SqlEventStore, SqlMemberStore, SqlSlotStore
from broker.store.sql.topology import TOPOLOGY
from broker.store.sqlite import finding as sqlite_finding
from broker.store.sqlite import looking
from broker.store.sqlite import reader as sqlite_read
from broker.store.sqlite import safety as sqlite_safety
from broker.store.sqlite import streams as sqlite_streams
from broker.store.sqlite import writer as sqlite_write
from broker.store.sqlite.ballast import NO_ROOM, Ballast
from broker.store.sqlite.companions import Companions
from broker.store.sqlite.content_files import ContentFiles, make_directory, sync_directory
from broker.store.sqlite.lock import FileLock
from broker.store.sqlite.worker import Worker

_log = structlog.get_logger(__name__)

T = TypeVar("T")

# What may pass by itself. Once the store is open that is true of all errors of the system but those of a wrong call; at
# the start a folder that cannot be written is for an operator to correct.
_AGAIN: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM}
_AGAIN_ONCE_OPEN: Final = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}
_AGAIN_OF_SYSTEM: Final = {errno.EFBIG, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
_WRONG_CALL: Final = {errno.EBADF, errno.EFAULT}

# With a WAL and FULL a commit is on disk when it returns. The WAL is kept short: at 1000 pages inserts are fastest, and
# a checkpoint takes about 15 ms.
_PRAGMAS: Final = (
    "busy_timeout = 5000",
    "synchronous = FULL",
    "wal_autocheckpoint = 1000",
    "journal_size_limit = 67108864",
    "secure_delete = OFF",
    "cache_size = -32768",
)
_CACHED_STATEMENTS: Final = 64

_OCTETS_OF_CHANGE: Final = 4096
"""About what a row of topology or of a slot may take, with its indexes."""
_OCTETS_OF_KEY: Final = 100
_ROOM_FOR_INDEXES: Final = 1 << 20
"""Octets that must be free inside a database on a full disk, beside twice those of the rows that are written."""


class SqliteStore:
    """A store in the file `path`, whose directory is made when it is missing. Files beside it hold large bodies."""

    connects = 0
    """There is no server."""

    def __init__(
        self,
        path: Path,
        content_files: Callable[[Path], ContentFiles] = ContentFiles,
        ballast: Callable[[Path], Ballast] = Ballast,
        file_system: Callable[[Path], str] = sqlite_safety.file_system_of,
    ) -> None:
        # SQLite keeps its log beside the file that a link points to, and so do all other files.
        self._path = path.resolve()
        self._companions = companions = Companions(self._path)
        self._ballast = ballast(companions.ballast)
        self._file_system = file_system
        self._files = content_files(companions.content)
        self._lock = FileLock(companions.lock)
        self._is_open = False
        self._writer: Worker | None = None
        self._reader: Worker | None = None
        self._opened_by_writer = ExitStack()
        self._opened_by_reader = ExitStack()
        self._node_id = ""
        self._incarnation: Incarnation | None = None
        self._high_water = 0
        self.cluster = SqlClusterStore(self._run_for_cluster)
        self.slots = SqlSlotStore(self._work)
        self.events = SqlEventStore(self._work)
        self.members = SqlMemberStore(self._work, self._run_for_cluster, self._on_joined)

    def describe(self) -> str:
        return f"SQLite {sqlite3.sqlite_version}, {self._path}"

    async def look(self) -> StoreLook:
        found = await asyncio.to_thread(self._guarded, partial(looking.look, self._path, self._companions))
        return replace(found, unsafe=await self.check_safety())

    async def open(self) -> None:
        try:
            await self._open()
        except StoreFull:
            # The ballast has been given up: its room may be enough to start and to deliver what is stored.
            await self._open()

    async def _open(self) -> None:
        self._writer = Worker("store-writer", self._checkpoint)
        try:
            await self._writer.submit(self._guarded_writing, self._open_writer, 0)
            self._reader = Worker("store-reader")
            await self._reader.submit(self._guarded, self._open_reader)
        except BaseException:
            await self.close()
            raise
        self._is_open = True

    async def close(self) -> None:
        self._is_open = False
        # The writer closes last, because the last connection to close writes the WAL back into the file.
        for worker, opened in ((self._reader, self._opened_by_reader), (self._writer, self._opened_by_writer)):
            if worker is not None:
                await worker.submit(opened.close)
                worker.stop()
        self._reader = self._writer = None

    async def write(self, batch: Batch) -> None:
        shared = name_large_content(batch.inserts)
        # A transient message can be settled while the thread writes it, so the sign of its queue id is decided here.
        transient = {message.id for message in batch.inserts if message.state == TRANSIENT}
        recounts = ids_by_deliveries(batch.recounts)
        high_water = batch.high_water if batch.high_water > self._high_water else 0
        if not batch and not high_water:
            return

        def write() -> None:
            if self._incarnation is not None:
                self._check_incarnation(self._incarnation)
            sqlite_write.write(self._raw, self._files, self._node_id, batch, shared, transient, recounts, high_water)

        # How much room is needed is asked for only on a full disk.
        grows = octets_in_rows(batch.inserts) if self._ballast.is_given_up else len(batch.inserts)
        grows += sum([append.octets for append in batch.appends])
        grows += sum(len(branch.content) for branch in batch.prepared) + _OCTETS_OF_KEY * (
            len(batch.keyed) + len(batch.grouped)
        )
        await self._on_writer(write, grows=grows)
        self._high_water = max(self._high_water, high_water)

    async def read(self, queue: StorageQueue, slot: Slot, limit: int, limit_bytes: int) -> list[Message]:
        return await self._whole(
            slot.queue_id,
            lambda: sqlite_read.read(self._read_only, self._files.read, queue, slot, limit, limit_bytes),
        )

    async def earliest_due(self) -> dict[int, int]:
        return await self._on_reader(lambda: sqlite_read.earliest_due(self._read_only))

    async def read_due(
        self, queue: StorageQueue, until_ms: int, after: DueKey, limit: int, limit_bytes: int
    ) -> list[Message]:
        bounds = until_ms, after, limit, limit_bytes
        return await self._whole(
            queue.queue_id, lambda: sqlite_read.read_due(self._read_only, self._files.read, queue, *bounds)
        )

    async def next_due(self, queue: StorageQueue, after: DueKey) -> int | None:
        places = await self._on_reader(
            lambda: sqlite_read.due_keys(self._read_only, queue.queue_id, LATEST, after, limit=1)
        )
        return places[0][0] if places else None

    async def read_groups(self, queue_id: int, after: int, limit: int, depth: int) -> GroupPage:
        return await self._in_transaction(
            lambda connection: groups.read_groups(connection, queue_id, after, limit, depth)
        )

    async def read_listed(self, queue: StorageQueue, message_ids: Sequence[int], limit_bytes: int) -> list[Message]:
        return await self._whole(
            queue.queue_id,
            lambda: sqlite_read.read_listed(self._read_only, self._files.read, queue, message_ids, limit_bytes),
        )

    async def _whole(self, queue_id: int, read: Callable[[], sqlite_read.Page]) -> list[Message]:
        """Return the messages of the page that `read` returns, and set the damaged ones aside."""
        page = await self._on_reader(read)
        if page.damaged:
            await damaged.set_aside(self._work, self._incarnation, queue_id, page.damaged)
        return page.messages

    async def find_messages(self, wanted: bytes, before: int, limit: int) -> FoundPage:
        return await self._on_reader(lambda: sqlite_finding.find_messages(self._read_only, wanted, before, limit))

    async def backlog(self) -> list[Slot]:
        return await self._on_reader(lambda: sqlite_read.backlog(self._read_only))

    async def mark_redelivered(self, messages: Sequence[Message]) -> None:
        ids = ids_by_deliveries(messages)
        await self._on_writer(lambda: sqlite_write.recount(self._raw, ids))

    async def prepared_xids(self, vhost: str, limit: int) -> list[Xid]:
        return await self._in_transaction(lambda connection: branches.prepared_xids(connection, vhost, limit))

    async def read_branch(self, key: BranchKey) -> PreparedBranch | None:
        return await self._in_transaction(lambda connection: branches.read_branch(connection, key))

    async def sweep_keys(self, after: KeyPlace, now_ms: int, limit: int) -> KeySweep:
        return await self._in_transaction(lambda connection: keys.sweep_keys(connection, after, now_ms, limit))

    async def trim_keys(self, scope: int, keep: int, limit: int) -> int:
        return await self._in_transaction(lambda connection: keys.trim_keys(connection, scope, keep, limit))

    async def stream_bounds(self, queue_ids: Sequence[int]) -> dict[int, StreamBounds]:
        return await self._in_transaction(lambda connection: streams.stream_bounds(connection, queue_ids))

    async def read_stream(self, queue_id: int, offset: int, limit_octets: int) -> StreamPage:
        return await self._on_reader(lambda: sqlite_streams.read_page(self._read_only, queue_id, offset, limit_octets))

    async def find_in_stream(self, queue_id: int, time_ms: int) -> int | None:
        return await self._in_transaction(lambda connection: streams.find_in_stream(connection, queue_id, time_ms))

    async def trim_stream(self, queue_id: int, retention: TrimRule, limit: int) -> int:
        return await self._in_transaction(
            lambda connection: streams.trim_stream(connection, queue_id, retention, limit)
        )

    async def keep_places(self, places: Mapping[ReaderPlace, int]) -> None:
        grows = _OCTETS_OF_KEY * len(places)
        await self._in_transaction(lambda connection: streams.keep_places(connection, places), grows=grows)

    async def place_in_stream(self, place: ReaderPlace) -> int | None:
        return await self._in_transaction(lambda connection: streams.place_in_stream(connection, place))

    async def places_in_stream(self, queue_id: int) -> dict[str, int]:
        return await self._in_transaction(lambda connection: streams.places_in_stream(connection, queue_id))

    async def forget_place(self, place: ReaderPlace) -> bool:
        return await self._in_transaction(lambda connection: streams.forget_place(connection, place))

    async def load(self) -> Topology:
        try:
            return await self._in_transaction(TOPOLOGY.load)
        except StoreError as error:
            if "Could not decode to UTF-8" not in str(error):
                raise
        # Slower for each text, and so only when there is a damaged one.
        await self._on_writer(lambda: setattr(self._raw, "text_factory", _decoded))
        return await self._in_transaction(TOPOLOGY.load)

    async def record(self, changes: Sequence[Change]) -> None:
        grows = 0 if all(isinstance(change, Drop) for change in changes) else _OCTETS_OF_CHANGE * len(changes)
        await self._in_transaction(lambda connection: TOPOLOGY.record(connection, changes), grows=grows)

    async def reserve_queue_ids(self, count: int) -> tuple[int, int]:
        return await self._in_transaction(lambda connection: nodes.reserve_queue_ids(connection, count))

    async def register(self, node_id: str) -> Registration:
        registration = await self._in_transaction(lambda connection: nodes.register(connection, node_id))
        self._node_id = node_id
        self._incarnation = None
        self._high_water = 0
        return registration

    def _on_joined(self, incarnation: Incarnation, registration: Registration, times_gone_back: int) -> None:
        self._node_id = incarnation.node_id
        self._incarnation = incarnation
        self._high_water = 0

    async def resign(self) -> None:
        await self._in_transaction(lambda connection: nodes.resign(connection, self._node_id))

    async def probe(self) -> float:
        def timed() -> float:
            started = time.perf_counter()
            with self._engine.begin() as connection:
                nodes.probe(connection, self._node_id)
            return time.perf_counter() - started

        return await self._on_writer(timed)

    async def time_ms(self) -> int:
        return SystemClock().wall_ms()

    async def distrust(self) -> None:
        """Nothing to do: what the file lies on does not change while it is open."""

    async def check_safety(self) -> list[str]:
        if sqlite_safety.has_wal_reset_bug(sqlite3.sqlite_version_info):
            # This is no complaint: with one writing connection only another program can trigger the bug.
            advice = "let no other program open the store while the broker runs"
            _log.info("this SQLite has the WAL-reset bug", version=sqlite3.sqlite_version, advice=advice)
        # SQLite's settings are set by `_PRAGMAS` and need no check.
        return sqlite_safety.complaints(self._path, self._file_system(self._path))

    async def _in_transaction(self, function: Callable[[Connection], T], *, grows: int = 0) -> T:
        def run() -> T:
            with self._engine.begin() as connection:
                discarded_bodies(connection)  # those of a transaction that failed are still there
                done = function(connection)
                discarded = discarded_bodies(connection)
            self._files.discard(discarded)
            return done

        return await self._on_writer(run, grows=grows)

    async def _run_for_cluster(
        self, function: Callable[[Connection], T], *, repeatable: bool, is_single: bool = False
    ) -> T:
        # A connection to a file is never lost, so nothing must be repeated.
        return await self._in_transaction(function)

    async def _work(
        self,
        function: Callable[[Connection], T],
        *,
        rows: int = 0,
        is_long: bool = False,
        sees_one_moment: bool = False,
    ) -> T:
        return await self._in_transaction(function, grows=0 if is_long else _OCTETS_OF_CHANGE * rows)

    async def _on_writer(self, function: Callable[[], T], *, grows: int = 0) -> T:
        """Return what `function` returns, called in the writing thread.

        By how many octets it `grows` the store: while the ballast is given up, that much must be free inside the
        database, because the ballast's room is for deletes.
        """
        if self._writer is None:
            raise StoreError(f"the store {self._path} is not open")
        return await self._writer.submit(self._guarded_writing, function, grows)

    async def _on_reader(self, function: Callable[[], T]) -> T:
        if self._reader is None:
            raise StoreError(f"the store {self._path} is not open")
        return await self._reader.submit(self._guarded, function)

    # The methods below run in the store's threads

    def _guarded_writing(self, function: Callable[[], T], grows: int) -> T:
        """Call `function`; when the disk is full, give up the ballast and raise `StoreFull`."""
        try:
            if grows and self._ballast.is_given_up:
                self._find_room(grows)
            return self._guarded(function)
        except StoreUnavailable as error:
            # SQLite reports some kinds of a full disk (a quota, its shared memory) as an I/O error.
            if not isinstance(error, StoreFull) and self._ballast.has_room():
                raise
            self._ballast.give_up()
            raise StoreFull(str(error)) from error

    def _find_room(self, octets: int) -> None:
        """Take the ballast back, or find pages of deleted rows for so many octets. Raises `StoreFull`."""
        try:
            self._ballast.restore()
        except StoreFull:
            pages, size = (
                self._raw.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_size")
            )
            if pages * size < _ROOM_FOR_INDEXES + 2 * octets:
                raise

    def _guarded(self, function: Callable[[], T]) -> T:
        """Call `function`, and raise the driver's exceptions as the broker's own."""
        try:
            return function()
        except sqlite3.Error as error:
            raise self._translated(error) from error
        except DBAPIError as error:
            cause = error.orig if isinstance(error.orig, sqlite3.Error) else sqlite3.Error(str(error))
            raise self._translated(cause) from error
        except MemoryError as error:  # SQLite's own want of memory, too
            raise StoreUnavailable(f"the store {self._path}: no memory") from error
        except OSError as error:
            text = f"the store {self._path}: {error.strerror or error}"
            if error.errno in NO_ROOM:
                raise StoreFull(text) from error
            is_passing = error.errno not in _WRONG_CALL if self._is_open else error.errno in _AGAIN_OF_SYSTEM
            raise (StoreUnavailable(text) if is_passing else StoreError(text)) from error

    def _translated(self, error: sqlite3.Error) -> StoreError:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        text = " ".join(f"the store {self._path}: {error}".split())
        if code == sqlite3.SQLITE_FULL:
            return StoreFull(text)
        is_passing = code in _AGAIN or (self._is_open and code in _AGAIN_ONCE_OPEN)
        return StoreUnavailable(text) if is_passing else StoreError(text)

    def _open_writer(self) -> None:
        make_directory(self._path.parent)
        self._lock.acquire(self._path)
        self._opened_by_writer.callback(self._lock.release)
        self._companions.check_database()
        self._lock.acquire_file(self._path)
        sync_directory(self._path.parent)  # the name of the log must not last longer than that of the database
        self._companions.check_log()
        self._opened_by_writer.callback(self._companions.keep_log)
        self._raw = self._opened_by_writer.enter_context(closing(_connect(self._path)))
        mode = self._raw.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise StoreError(f"the store {self._path} cannot keep a write-ahead log: its journal mode is {mode!r}")
        for pragma in _PRAGMAS:
            self._raw.execute(f"PRAGMA {pragma}")
        self._engine = _engine_over(self._raw)
        with self._engine.begin() as connection:
            if migrate.current_revision(connection) is None:
                self._companions.check_new()
            migrate.upgrade(connection)
        sync_directory(self._path.parent)
        self._open_companions()

    def _open_companions(self) -> None:
        """Take over the files beside the database, and mark that as open: ADR 27."""
        mark = self._raw.execute("PRAGMA user_version").fetchone()[0]
        bodies = sqlite_write.bodies_in_files(self._raw)
        is_ours = self._companions.check_content(mark >> 1, sum(bodies.values()))
        opened = (mark >> 1) + 1
        self._raw.execute(f"PRAGMA user_version = {2 * opened + 1}")
        self._checkpoint()  # the mark must be in the file itself, or it would be missing together with the log
        self._opened_by_writer.callback(self._unmark)
        self._ballast.open()
        kept = self._files.open(bodies, is_ours=is_ours)
        if kept:
            _log.warning(
                "body files that no row names are kept, because an older program or another state of the database left"
                " them: delete them if nothing is missing",
                files=[str(path) for path in kept],
            )
        self._files.on_new_directory = partial(self._companions.write_count, opened)
        self._companions.write_count(opened)
        self._opened_by_writer.callback(self._files.close)

    def _unmark(self) -> None:
        """Mark the database as closed in order. If that fails, it keeps its log (`Companions.keep_log`)."""

        def unmark() -> None:
            mark = self._raw.execute("PRAGMA user_version").fetchone()[0]
            self._raw.execute(f"PRAGMA user_version = {mark & ~1}")

        with suppress(StoreError):
            self._guarded_writing(unmark, 0)

    def _open_reader(self) -> None:
        self._read_only = self._opened_by_reader.enter_context(closing(_connect(self._path)))
        for pragma in ("busy_timeout = 5000", "query_only = ON", "cache_size = -16384"):
            self._read_only.execute(f"PRAGMA {pragma}")

    def _check_incarnation(self, incarnation: Incarnation) -> None:
        # No other write can come between this check and the batch: both run in the writing thread.
        with self._engine.begin() as connection:
            check_incarnation(connection, incarnation)

    def _checkpoint(self) -> None:
        with suppress(sqlite3.Error):
            self._raw.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, cached_statements=_CACHED_STATEMENTS)


def _decoded(octets: bytes) -> str:
    return octets.decode(errors="surrogateescape")


def _engine_over(raw: sqlite3.Connection) -> Engine:
    """Return an engine whose only connection is the writer's own."""
    engine = create_engine("sqlite://", hide_parameters=True, creator=lambda: raw, poolclass=StaticPool)

    @event.listens_for(engine, "begin")
    def begin_immediate(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
