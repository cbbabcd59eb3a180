"""Writes the batches of one incarnation, each over the one before it, over a connection of its own (ADR 31).

A commit without an answer is looked up before anything else is written. When a batch that was committed is not there
any more, a fail-over of the database has lost it (ADR 86).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog

from broker.errors import BrokerError, StoreError, StoreUnsafe, StoreWentBack
from broker.ports.cluster_rows import Incarnation
from broker.ports.store import Batch
from broker.store.server.batch import Rows
from broker.store.server.commit_times import CommitTimes
from broker.store.server.dialect import Dialect, Marker
from broker.store.server.engine import Engine, Failure
from broker.store.sql.fencing import evicted

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Writing:
    """The incarnation that writes, and how far it is. Its first batch is number 1."""

    node_id: str = ""
    lane: int = 0
    incarnation_id: str = ""
    member: Incarnation | None = None
    """The incarnation, of a node of a cluster."""
    known: frozenset[str] = frozenset()
    """The incarnations that were in the store before this one."""
    number: int = 0
    doubtful: Batch | None = None
    found_committed: Batch | None = None
    times: CommitTimes = field(default_factory=CommitTimes)
    is_loss_told: bool = False
    """Whether the log has it that batches are lost: a probe and a batch may both find that out."""


class BatchWriter:
    """The connection that writes, and the incarnation that does.

    `on_went_back` is called when batches are lost, with what has happened; of the nodes of a cluster it ends all
    incarnations.
    """

    def __init__(
        self,
        engine: Engine,
        dialect: Dialect,
        deadline: Callable[[int, int], float],
        on_went_back: Callable[[Incarnation], Awaitable[None]],
        *,
        demands_safety: bool,
    ) -> None:
        """One that `demands_safety` commits nothing while a setting of the server can lose it."""
        self._engine = engine
        self._dialect = dialect
        self._deadline = deadline
        self._on_went_back = on_went_back
        self._demands_safety = demands_safety
        self._lock = asyncio.Lock()
        self._raw: Any = None
        self._at = Writing()
        self.connects = 0
        """How often a connection was made."""

    def begin(self, writing: Writing) -> None:
        """Write as this incarnation from now on."""
        self._at = writing

    def close(self) -> None:
        """Close the connection; the next batch makes another one."""
        raw, self._raw = self._raw, None
        if raw is not None:
            self._dialect.abort(raw)

    async def distrust(self) -> None:
        """Let the next batch go over a new connection, whose server is judged again."""
        async with self._lock:
            self.close()

    async def write(self, batch: Batch, rows: Rows) -> None:
        """Commit a batch. Raises `StoreUnavailable` when it may be tried again."""
        async with self._lock:
            if batch is self._at.found_committed:
                return
            await self._engine.retrying(lambda: self._try(batch, rows), again=Failure.LOST)

    async def verify(self, raw: Any) -> None:
        """Find out, over a new connection, whether what was committed is still there. Raises `StoreWentBack`."""
        at, number = self._at, self._at.number
        if not number:
            return
        last = await self._dialect.last_batch(raw, self._marker(at, number))
        if last is not None and last < number and at is self._at:
            raise await self._gone_back(last)

    async def _try(self, batch: Batch, rows: Rows) -> None:
        """Write once; after any error close the connection, which ends its transaction."""
        try:
            if self._raw is None:
                await self._connect()
            with self._engine.deadline(self._raw, self._deadline(rows.count, rows.octets)):
                if self._at.doubtful is None or not await self._was_committed(batch):
                    await self._write_over(self._raw, batch, rows)
        except BaseException:
            self.close()
            raise

    async def _connect(self) -> None:
        self._raw = await self._engine.connect()
        self.connects += 1
        if self._demands_safety:
            with self._engine.deadline(self._raw):
                unsafe = await self._dialect.check_safety(self._raw)
            if unsafe:
                raise StoreUnsafe("; ".join(unsafe))

    async def _write_over(self, raw: Any, batch: Batch, rows: Rows) -> None:
        at = self._at
        marker = self._marker(at, at.number + 1)
        if not await self._dialect.begin(raw, marker, rows):
            await self._dialect.roll_back(raw)
            raise await self._judged(await self._dialect.last_batch(raw, marker))
        at.doubtful = batch
        await self._dialect.commit(raw)
        at.doubtful = None
        at.number = marker.number
        at.times.note(marker.number)

    async def _was_committed(self, batch: Batch) -> bool:
        """Find out whether the commit without an answer was done; return whether it was that of `batch`."""
        at = self._at
        last = await self._dialect.last_batch(self._raw, self._marker(at, at.number + 1))
        if last not in (at.number, at.number + 1):
            raise await self._judged(last)
        is_committed = last > at.number
        at.found_committed = at.doubtful if is_committed else None
        at.doubtful = None
        at.number = last
        if is_committed:
            at.times.note(last)
        _log.info("a commit without an answer is resolved", committed=is_committed, batch=last)
        return batch is at.found_committed

    async def _judged(self, last: int | None) -> BrokerError:
        """Return the error for an incarnation of which the store has `last` as the last batch, or nothing at all."""
        at = self._at
        if last is not None and last < at.number:
            return await self._gone_back(last)
        if at.member is not None:
            return evicted(at.member)
        if last is None and await self._is_unheard_of():
            return await self._gone_back(0)
        return StoreError(f"another broker has taken over as {at.node_id!r} in {self._dialect.where}")

    async def _is_unheard_of(self) -> bool:
        """Is there no trace of this incarnation, nor of one that came after it?"""
        return set(await self._dialect.incarnations(self._raw)) <= self._at.known

    async def _gone_back(self, last: int) -> StoreWentBack:
        """Say what is lost, once, and return the error that ends the incarnation."""
        at = self._at
        first, until = (datetime.fromtimestamp(each, UTC) for each in at.times.span_after(last))
        if not at.is_loss_told:
            at.is_loss_told = True
            _log.error(
                "the database has lost what it had committed",
                batches=at.number - last,
                since=first.isoformat(timespec="milliseconds"),
                until=until.isoformat(timespec="milliseconds"),
                server=self._dialect.servers.in_use,
                advice="confirms of that time are void; fail over to synchronous standbys only",
            )
        if at.member is not None:
            await self._on_went_back(at.member)
        return StoreWentBack(
            f"the database has lost {at.number - last} batches that it had committed from"
            f" {first:%H:%M:%S.%f} to {until:%H:%M:%S.%f} UTC: confirms of that time are void"
        )

    def _marker(self, at: Writing, number: int) -> Marker:
        return Marker(at.lane, at.incarnation_id, number, at.node_id)
