"""Moves what a database of WSO2's message broker holds into this broker's (ADR 62).

Everything is read in the order of the source's ids, in parts of bounded size. A part and the fact that it has been
moved are one transaction, so that an import that was killed goes on behind it. The source is never changed; tables that
would be in the way of this broker's own are renamed before the first message moves.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from sqlalchemy import Connection, select

from broker.config.configuration import Configuration
from broker.config.connection_options import connection_options
from broker.config.datasources import PoolConfiguration
from broker.errors import ConfigError
from broker.message import Message, MessageIdGenerator
from broker.node.wso2_messages import Making
from broker.node.wso2_topology import Plan, plan, queue_names
from broker.ports.names import DEAD_LETTER_CHANNEL
from broker.ports.records import BindingRecord, ExchangeRecord, QueueRecord, Topology
from broker.ports.store import Batch
from broker.store.server.batch import rows_of
from broker.store.server.opening import server_store
from broker.store.server.store import ServerStore
from broker.store.sql.recovery import cut_lane
from broker.store.wso2 import progress, reading, survey
from broker.store.wso2.database import Database
from broker.store.wso2.encoding import Undecodable, is_too_long
from broker.store.wso2.liveness import beats, other_sessions
from broker.store.wso2.progress import HERE, Progress
from broker.store.wso2.reading import StoredMessage
from broker.store.wso2.survey import Definitions, Found, counted
from broker.store.wso2.tables import Tables, find

_SESSION_TRIES: Final = 25
_SESSION_PAUSE: Final = 0.2
"""How often, and how many seconds apart, connections of others are looked for: those of a process that was killed go
soon.
"""
_SLACK: Final = 2.0
"""Seconds that a beat may be late."""
_NOTHING: Final = Topology()
_LANE: Final = 255
"""The lane of the messages' new ids: one, so that a queue keeps its order over all nodes of WSO2's, and the last, which
is hardly ever a node's.
"""


@dataclass(slots=True)
class Report:
    """What an import has done, or a dry run would do."""

    found: Found
    plan: Plan = field(default_factory=Plan)
    progress: Progress = field(default_factory=Progress)
    was_done: bool = False
    """Had everything been moved before?"""

    @property
    def is_complete(self) -> bool:
        """Is nothing left behind that could have been wanted?"""
        return not (self.progress.unreadable or self.plan.left or self.found.branches)

    def lines(self, verb: str) -> Iterator[str]:
        """Yield the summary."""
        made, done = self.plan, self.progress
        parts = [
            counted(made.count(QueueRecord) - made.subscriptions, "new queue"),
            counted(made.subscriptions, "new durable subscription"),
            counted(made.count(ExchangeRecord), "new exchange"),
            counted(made.count(BindingRecord), "new binding"),
            counted(done.moved, "message"),
            counted(done.dead, "dead letter"),
        ]
        yield f"{verb}: {', '.join(parts)}"
        if done.passed_over:
            yield f"not {verb}: {counted(done.passed_over, 'message')} of topics for subscribers that did not last"
        if self.found.retained:
            yield f"not {verb}: {counted(self.found.retained, 'retained message')} of MQTT"
        if self.found.branches:
            yield f"not {verb}: {counted(self.found.branches, 'prepared transaction')}, with what is in them"
        for line in made.left:
            yield f"not {verb}: {line}"
        if done.unreadable:
            yield f"not {verb}: {counted(done.unreadable, 'message')} that cannot be read"


class Migration:
    """One import into the database of `config`."""

    def __init__(
        self,
        config: Configuration,
        source: PoolConfiguration | None = None,
        *,
        say: Callable[[str], None],
        show: Callable[[Progress, Found], None] = lambda progress, found: None,
        sleep: Callable[[float], Awaitable[None]],
        ignores_sessions: bool = False,
    ) -> None:
        """Without a `source` it is the same database. `say` gets lines for the user, `show` how far the import is.

        Raises `ConfigError` for databases that it is not for.
        """
        self._config = config
        self._source = config.datasource if source is None else source
        self._is_here = _is_same(self._source, config.datasource)
        _require_server(self._source, "from")
        _require_server(config.datasource, "to")
        self._say = say
        self._show = show
        self._sleep = sleep
        self._ignores_sessions = ignores_sessions
        self._from = Database(self._source)
        self._tables: Tables
        self._beats = dict[tuple[str, str], int]()

    async def run(self, *, is_dry: bool = False) -> Report:
        """Move everything, or only read it; return what has become of it. Raises `ConfigError` and `StoreError`."""
        await self._from.open()
        try:
            return await self._run(is_dry=is_dry)
        finally:
            await self._from.close()

    async def _run(self, *, is_dry: bool) -> Report:
        sessions = () if is_dry or self._ignores_sessions else await self._others()
        self._tables = await self._found_tables()
        report = Report(await self._from.run(partial(survey.survey, tables=self._tables)))
        self._say(f"found in {self._from.where}: {report.found}")
        if self._is_here and self._tables.has_progress:
            there = await self._from.run(partial(progress.read, source=HERE))
            if there is not None and there.is_done:
                report.progress, report.was_done = there, True
                return report
        if is_dry:
            await self._read_all(report)
            return report
        if sessions:
            raise ConfigError(
                f"{self._from.where} is in use by {', '.join(sorted(set(sessions)))}: stop WSO2's nodes, and whatever"
                " else uses it (or say --ignore-connections if it is none of them)"
            )
        await self._require_quiet()
        await self._move(report)
        return report

    async def _found_tables(self) -> Tables:
        tables = await self._from.run(find)
        if tables.missing:
            raise ConfigError(
                f"{self._from.where} holds no database of WSO2's message broker: there is no table"
                f" {', '.join(tables.missing)}"
            )
        return tables

    # Is anybody there?

    async def _others(self) -> Sequence[str]:
        sessions: Sequence[str] = ()
        for _ in range(_SESSION_TRIES):
            sessions = await self._from.run(other_sessions)
            if not sessions:
                break
            await self._sleep(_SESSION_PAUSE)
        return sessions

    async def _require_quiet(self) -> None:
        """Raise `ConfigError` when a node of WSO2's beats: its rows are looked at twice, so that no clock counts."""
        self._beats = dict(await self._from.run(partial(beats, tables=self._tables)))
        if self._beats:
            interval = self._config.coordination.rdbms_based_coordination.heartbeat_interval_ms / 1000
            wait = 2 * interval + _SLACK
            self._say(f"looking for {wait:g} s whether a node of WSO2's broker is alive")
            await self._sleep(wait)
            await self._require_no_beat()

    async def _require_no_beat(self) -> None:
        now = await self._from.run(partial(beats, tables=self._tables))
        for (table, node_id), beat in now.items():
            if self._beats.get((table, node_id)) != beat:
                raise ConfigError(
                    f"the node {node_id!r} of WSO2's broker is alive on {self._from.where}: stop all its nodes"
                )

    # A dry run

    async def _read_all(self, report: Report) -> None:
        known = await self._from.run(partial(survey.definitions, tables=self._tables))
        names = await self._wanted_queues(known, report.found)
        report.plan = plan(_NOTHING, known, names, iter(range(1, len(names) + 1)))
        making = await self._making(report.plan, known)
        report.progress = Progress()
        ids = MessageIdGenerator(_LANE)
        async for rows in self._pages(report.progress):
            for part in reading.parts(rows):
                _, report.progress = await self._decoded(part, making, report.progress, ids)
                self._show(report.progress, report.found)

    # Moving

    async def _move(self, report: Report) -> None:
        make_way = survey.make_way_for_import if self._is_here else survey.make_way_for_import_from_elsewhere
        # It takes the lock of a broker that is alone, so no node of this broker's may be there, or come.
        store = server_store(self._config.datasource, make_way=make_way)
        await store.open()
        target = Database(self._config.datasource)
        try:
            await target.open()
            self._tables = await self._found_tables()
            await self._move_into(store, target, report)
        finally:
            await target.close()
            await store.close()

    async def _move_into(self, store: ServerStore, target: Database, report: Report) -> None:
        source = HERE if self._is_here else self._from.where[:255]
        report.progress = await target.run(partial(progress.begin, source=source))
        if report.progress.is_done:
            report.was_done = True
            return
        known = await self._from.run(partial(survey.definitions, tables=self._tables))
        report.plan = await self._record(store, known, report.found)
        making = await self._making(report.plan, known)
        ids = MessageIdGenerator(_LANE, report.progress.last_id)
        async for rows in self._pages(report.progress):
            await self._require_no_beat()
            for part in reading.parts(rows):
                messages, after = await self._decoded(part, making, report.progress, ids)
                await target.run(partial(_store, source=source, before=report.progress, after=after, new=messages))
                report.progress = after
                self._show(after, report.found)
        await self._cut_slots(target)
        done = replace(report.progress, is_done=True)
        await target.run(partial(progress.advance, source=source, before=report.progress, after=done))
        report.progress = done

    async def _record(self, store: ServerStore, known: Definitions, found: Found) -> Plan:
        """Make queues, exchanges and bindings that are not there."""
        names = await self._wanted_queues(known, found)
        first, last = await store.reserve_queue_ids(max(len(names), 1))
        made = plan(await store.load(), known, names, iter(range(first, last + 1)))
        if made.changes:
            await store.record(made.changes)
        return made

    async def _wanted_queues(self, known: Definitions, found: Found) -> list[str]:
        others = await self._from.run(partial(_undefined_queues, tables=self._tables, known=known))
        return queue_names(known, others, has_dead=bool(found.dead))

    async def _making(self, made: Plan, known: Definitions) -> Making:
        expiration = self._config.performance_tuning.message_expiration
        return Making(
            made.queue_ids,
            frozenset(queue.name for queue in known.queues if not queue.is_durable),
            await self._from.run(partial(reading.queue_names, tables=self._tables)),
            await self._from.run(partial(reading.last_assigned, tables=self._tables)),
            made.queue_ids.get(DEAD_LETTER_CHANNEL, 0),
            expiration.expire_messages_in_dlc,
            int(time.time()),
        )

    async def _pages(self, begin: Progress) -> AsyncIterator[Sequence[StoredMessage]]:
        after = begin.message_id, begin.queue_id
        while rows := await self._from.run(partial(reading.page, tables=self._tables, after=after)):
            yield rows
            after = rows[-1].message_id, rows[-1].queue_id

    async def _decoded(
        self, part: Sequence[StoredMessage], making: Making, before: Progress, ids: MessageIdGenerator
    ) -> tuple[list[Message], Progress]:
        """Return the messages of a part, and how far the import is with them."""
        wanted = [row for row in part if not making.passes_over(row)]
        await self._from.run(partial(reading.read_bodies, tables=self._tables, rows=wanted))
        messages, dead = list[Message](), 0
        for row in wanted:
            try:
                if not row.is_readable:
                    raise Undecodable(row.fault)
                messages.append(making.message(row, ids))
                dead += row.is_dead
            except Undecodable as error:
                name = making.names.get(row.queue_id, row.queue_id)
                self._say(f"left: the message {row.message_id} of the queue '{name}': {error}")
        return messages, replace(
            before,
            message_id=part[-1].message_id,
            queue_id=part[-1].queue_id,
            last_id=ids.last,
            moved=before.moved + len(messages) - dead,
            dead=before.dead + dead,
            passed_over=before.passed_over + len(part) - len(wanted),
            unreadable=before.unreadable + len(wanted) - len(messages),
        )

    async def _cut_slots(self, target: Database) -> None:
        """Make free slots of the messages, since no node may ever have their lane."""
        size = self._config.performance_tuning.slots.window_size
        await target.run(partial(cut_lane, lane=_LANE, size=size))


def _undefined_queues(connection: Connection, tables: Tables, known: Definitions) -> list[str]:
    """Return the storage queues that have messages and no definition."""
    rows, defined, found = tables["MB_METADATA"].c, {queue.name for queue in known.queues}, list[str]()
    for queue_id, name in sorted(reading.queue_names(connection, tables).items()):
        if name in defined or survey.is_channel(name) or survey.ends_with_subscribers(name) or is_too_long(name):
            continue
        is_in = (rows.queue_id == queue_id) & (rows.dlc_queue_id == reading.LIVE)
        if connection.execute(select(rows.message_id).where(is_in).limit(1)).first() is not None:
            found.append(name)
    return found


def _store(connection: Connection, source: str, before: Progress, after: Progress, new: Sequence[Message]) -> None:
    """Write messages and how far the import is with them; those whose ids are taken get others."""
    if not progress.advance(connection, source, before, after):
        return  # it was committed, and the answer was lost
    used = {message.id for message in new}
    taken = progress.taken_ids(connection, sorted(used))
    for message in new:
        if message.id in taken:
            message.id = _free_id(connection, message.id, used)
            used.add(message.id)
    progress.write(connection, rows_of(Batch(inserts=list(new)), 0))


def _free_id(connection: Connection, message_id: int, used: set[int]) -> int:
    """Return the next id of the lane that nobody has."""
    ids = MessageIdGenerator(_LANE)
    ids.last = message_id
    while ids.last in used or progress.taken_ids(connection, [ids.last]):
        ids.next()
    return ids.last


def _is_same(one: PoolConfiguration, other: PoolConfiguration) -> bool:
    if one.is_h2 or other.is_h2:
        return False
    places = []
    for url in (one.store_url, other.store_url):
        schema = connection_options(url)[0].schema
        places.append((url.engine, url.host, url.port, url.database, schema))
    return places[0] == places[1]


def _require_server(datasource: PoolConfiguration, direction: str) -> None:
    if datasource.is_h2:
        raise ConfigError(
            f"messages cannot be moved {direction} a database of Java's H2: use MariaDB, MySQL or PostgreSQL"
        )
    if datasource.store_url.engine not in ("mysql", "postgresql"):
        raise ConfigError(
            f"messages of WSO2's broker cannot be moved {direction} {datasource.store_url.engine}: it is done from and"
            " to MariaDB, MySQL and PostgreSQL"
        )
