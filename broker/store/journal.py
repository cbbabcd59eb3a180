"""Group commit: the messages that queues append and settle are written in one store transaction after the other.

The next batch is written as soon as the previous one is committed, without a timer or a fixed size (ADR 5). When a
message is settled before its insert was written, the insert is cancelled. When the store has no room for inserts, they
wait while the rows of settled messages are deleted (ADR 13).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Final

import structlog

from broker.codec.message_group import group_of
from broker.errors import BranchConflict, StoreFull, StoreUnavailable
from broker.message import PENDING, SETTLED, STORED, TRANSIENT, WRITING, WRITING_SETTLED, KeyedMessage, Message
from broker.ports.branches import BranchKey, PreparedBranch
from broker.ports.groups import GroupRow
from broker.ports.slot import Slot
from broker.ports.store import Batch, MessageStore
from broker.ports.streams import StreamAppend
from broker.store.journal_limits import JournalCounters, JournalLimits
from broker.store.stream_rows import part_streams

_log = structlog.get_logger(__name__)

HIGH_WATER_AHEAD: Final = 1000 << 18
"""How far above the last message id the lane's high-water mark is recorded: the ids of one second. A node that starts
waits until its clock has passed the mark, or its ids would say that messages are younger than they are."""


@dataclass(slots=True)
class _Group:
    """Writes that belong in one transaction, together with or after all writes that were taken before them."""

    done: asyncio.Future[None]
    inserts: Sequence[Message] = ()
    deletes: Sequence[Message] = ()
    purges: Sequence[Slot] = ()
    slots: Sequence[Slot] = ()
    reads: Slot | None = None
    """The group only waits, for the rows of this slot."""
    prepared: Sequence[PreparedBranch] = ()
    resolved: Sequence[BranchKey] = ()
    keyed: Sequence[KeyedMessage] = ()

    @property
    def may_be_parted(self) -> bool:
        """Are its deletes all that it does?"""
        return not (self.inserts or self.prepared or self.resolved or self.keyed)

    def concerns(self, digest: str) -> bool:
        """Does it prepare or resolve this branch?"""
        keys = [*(branch.key for branch in self.prepared), *self.resolved]
        return any(key.digest == digest for key in keys)


def _nobody(things: Sequence[Any]) -> None:
    """Nobody has asked for keys, or appended to streams."""


class GroupCommitJournal:
    """The `Journal` of a node: the only writer of messages to its store."""

    def __init__(
        self,
        store: MessageStore,
        *,
        high_water: int,
        touched_confirms: set[Any],
        on_settled: Callable[[], None],
        on_full: Callable[[bool], None],
        on_decided: Callable[[Sequence[KeyedMessage]], None] = _nobody,
        on_keyed: Callable[[Sequence[KeyedMessage]], Awaitable[None]] | None = None,
        on_appended: Callable[[Sequence[StreamAppend]], None] = _nobody,
        limits: JournalLimits | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Write to `store`, which has recorded that message ids up to `high_water` may be in use.

        `touched_confirms` collects the confirms of messages that were stored or settled; `on_settled` is called after
        each commit. `on_full` is called with True when publishers should wait and with False when they may go on.
        `on_decided` is called with messages that asked for keys when it is known who has got them, `on_keyed` before
        that; `on_appended` with what has got its place in streams.
        """
        self._store = store
        self._high_water = high_water
        self._touched_confirms = touched_confirms
        self._on_settled = on_settled
        self._on_full = on_full
        self._on_decided = on_decided
        self._on_keyed = on_keyed
        self._on_appended = on_appended
        self._limits = limits or JournalLimits()
        self._sleep = sleep
        self._monotonic = monotonic
        self._pending: dict[int, Message] = {}
        self._appends: deque[Message] = deque()
        self._keyed: deque[Sequence[KeyedMessage]] = deque()
        self._spills: list[Message] = []
        self._deletes: list[Message] = []
        self._recounts: dict[int, Message] = {}
        self._groups: list[_Group] = []
        self._bytes = 0
        self._held = 0
        self._wakeup = asyncio.Event()
        self._writing_since: float | None = None
        self._batch = Batch()
        self._is_without_room = False
        self.grouped_queues: set[int] = set()
        self.is_full = False
        self.is_failing = False
        self.counters = JournalCounters()

    # What the core calls

    def append(self, message: Message) -> None:
        """Queue the insert of a PENDING message. Hot."""
        self._pending[message.id] = message
        self._bytes += message.weight
        if not self._wakeup.is_set():
            self._wakeup.set()

    def append_keyed(self, messages: Sequence[KeyedMessage]) -> None:
        """Queue the messages of one publish that ask for keys."""
        for message in messages:
            if message.state == PENDING:
                self.append(message)
            else:
                self._held += message.weight
        self._keyed.append(messages)
        self._wakeup.set()

    def append_to_stream(self, message: Message) -> None:
        """Queue a PENDING message for a stream."""
        self._appends.append(message)
        self._bytes += message.weight
        self._wakeup.set()

    def settle(self, message: Message) -> None:
        """Cancel the insert of a message that is not written yet, or queue the delete of its row. Hot.

        Confirms and deletes may wait for the store for long, and need none of the message's octets.
        """
        state = message.state
        if state == PENDING:
            if self._pending.pop(message.id, None) is not None:
                self._bytes -= message.weight
                self.counters.cancelled += 1
                message.header = message.body = b""
                message.chunks = None
            message.state = SETTLED
            if message.confirms is not None:
                self._touched_confirms.add(message.confirms)
        elif state == STORED:
            message.state = SETTLED
            message.header = message.body = b""
            message.chunks = None
            self._deletes.append(message)
            if not self._wakeup.is_set():
                self._wakeup.set()
        elif state == WRITING:
            message.state = WRITING_SETTLED
            if message.confirms is not None:
                self._touched_confirms.add(message.confirms)

    def spill(self, message: Message) -> None:
        """Store a transient message whose queue has no room in memory."""
        self._spills.append(message)
        self._bytes += message.weight
        self._wakeup.set()

    def forget(self, message: Message) -> None:
        """Delete the row of a transient message that is back in memory."""
        self._deletes.append(message)
        self._wakeup.set()

    def hold(self, octets: int) -> None:
        """So many octets more, or with a minus less, wait elsewhere for the store: publishers wait for them, too."""
        self._held += octets
        if octets < 0 and self.is_full:
            self._update_full()

    def recount(self, message: Message) -> None:
        """Queue the number of deliveries of a message whose insert is written or being written."""
        self._recounts[message.id] = message
        self._wakeup.set()

    def transact(
        self,
        inserts: Sequence[Message],
        deletes: Sequence[Message],
        *,
        prepared: Sequence[PreparedBranch] = (),
        resolved: Sequence[BranchKey] = (),
        keyed: Sequence[KeyedMessage] = (),
    ) -> Awaitable[None]:
        """Write all of it in one transaction: all or nothing."""
        return self._join(inserts=inserts, deletes=deletes, prepared=prepared, resolved=resolved, keyed=keyed)

    def purge(self, slots: Sequence[Slot]) -> Awaitable[None]:
        """Delete the rows of `slots`, after everything taken before."""
        return self._join(purges=slots)

    def give(self, slots: Sequence[Slot]) -> Awaitable[None]:
        """Make free slots of `slots`, after everything taken before."""
        return self._join(slots=slots)

    def flushed(self) -> Awaitable[None]:
        """Wait until everything taken so far is committed."""
        if self.is_idle:
            done = asyncio.get_running_loop().create_future()
            done.set_result(None)
            return done
        return self._join()

    def readable(self, slot: Slot) -> Awaitable[None]:
        """Wait until the rows of `slot` are as the core sees them.

        That is when everything taken so far is committed, or, in a store without room, when nothing of it belongs to
        the slot: whoever reads what is stored makes room.
        """
        if self.is_idle or (self._is_without_room and not self._is_touched(slot)):
            done = asyncio.get_running_loop().create_future()
            done.set_result(None)
            return done
        return self._join(reads=slot)

    def _is_touched(self, slot: Slot) -> bool:
        """Return whether a message of `slot` waits to be inserted or deleted.

        A number of deliveries that waits is nothing to wait for: it needs room itself.
        """
        batch = self._batch
        waiting: list[Iterable[Message]] = [batch.inserts, batch.deletes, self._pending.values(), self._spills]
        waiting += [self._deletes, *(part for group in self._groups for part in (group.inserts, group.deletes))]
        return any(
            slot.start <= message.id <= slot.end and message.queue.queue_id == slot.queue_id
            for message in chain.from_iterable(waiting)
        )

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is being written."""
        return self._writing_since is None and not self._has_waiting

    @property
    def _has_waiting(self) -> bool:
        if self._pending or self._deletes or self._spills or self._recounts:
            return True
        return bool(self._groups or self._keyed or self._appends)

    @property
    def pending_bytes(self) -> int:
        """Octets that the messages waiting for the store occupy."""
        return self._bytes

    @property
    def oldest_waiting(self) -> int | None:
        """The id of the oldest message that waits to be inserted or is being inserted, None if there is none."""
        inserts = self._batch.inserts
        return inserts[0].id if inserts else next(iter(self._pending), None)

    def stalled_for(self, now: float) -> float:
        """Return for how many seconds the current batch has been written, failed tries included; 0.0 without one."""
        return 0.0 if self._writing_since is None else max(now - self._writing_since, 0.0)

    def _join(self, **things: Any) -> Awaitable[None]:
        group = _Group(asyncio.get_running_loop().create_future(), **things)
        self._groups.append(group)
        self._wakeup.set()
        return group.done

    # The loop

    async def run(self) -> None:
        """Write batch after batch until cancelled."""
        while True:
            if not self._has_waiting:
                self._wakeup.clear()
                await self._wakeup.wait()
            await self._write_one()

    async def drain(self) -> None:
        """Return when nothing waits or is being written; then `run` can be cancelled without losing a batch."""
        while not self.is_idle:
            await self.flushed()

    async def _write_one(self) -> None:
        batch, groups = self._take()
        self._batch = batch
        self._writing_since = since = self._monotonic()
        try:
            if batch:
                rows = len(batch.inserts) + len(batch.deletes) + sum([len(each.messages) for each in batch.appends])
                await self._write(batch, groups)
                self.counters.seconds.note(self._monotonic() - since)
                self.counters.rows.note(rows)
            if batch.keyed and self._on_keyed is not None:
                await self._on_keyed(batch.keyed)
        finally:
            self._writing_since = None
            self._batch = Batch()
        self._committed(batch, groups)

    def _take(self) -> tuple[Batch, list[_Group]]:
        """Take the next batch. A group takes everything that came before it into the same transaction."""
        groups, self._groups = self._groups, []
        pending, limits = self._pending, self._limits
        appended = self._take_appended(is_whole=bool(groups)) if self._appends else []
        if groups or (len(pending) <= limits.batch_messages and self._bytes <= limits.batch_bytes):
            inserts = list(pending.values())
            self._pending = {}
            self._bytes = 0
        else:
            inserts = self._first_of(pending)
        keyed = self._take_keyed(inserts) if self._keyed else []
        deletes, self._deletes = self._deletes, []
        if len(deletes) > limits.batch_deletes and not (groups or keyed):  # what goes may leave its key to what comes
            deletes, self._deletes = deletes[: limits.batch_deletes], deletes[limits.batch_deletes :]
        for message in inserts:
            message.state = WRITING
        spills, self._spills = self._spills, []
        if spills:
            self._bytes = max(self._bytes - sum(message.weight for message in spills), 0)
        recounts = [message for message in self._recounts.values() if message.state != SETTLED]
        self._recounts = {}
        batch = Batch([*inserts, *spills], deletes, recounts=recounts, keyed=keyed)
        for group in groups:
            batch.inserts += group.inserts
            batch.deletes += group.deletes
            batch.purges += group.purges
            batch.slots += group.slots
            batch.prepared += group.prepared
            batch.resolved += group.resolved
            batch.keyed += group.keyed
        if appended or keyed or any(group.inserts for group in groups):
            part_streams(batch, appended)
        last = max((part[-1].id for part in (inserts, spills, *(group.inserts for group in groups)) if part), default=0)
        if last > self._high_water:
            self._high_water = last + HIGH_WATER_AHEAD
        batch.high_water = self._high_water
        if self.grouped_queues:
            self._index(batch)
        return batch, groups

    def _take_appended(self, *, is_whole: bool) -> list[Message]:
        """Take what goes to streams, as far as a batch has room, or all of it."""
        limits, taken, room = self._limits, list[Message](), self._limits.batch_bytes
        appends = self._appends
        while appends and (is_whole or (room > 0 and len(taken) < limits.batch_messages)):
            message = appends.popleft()
            message.state = WRITING
            room -= message.weight
            self._bytes -= message.weight
            taken.append(message)
        return taken

    def _index(self, batch: Batch) -> None:
        """Note what the batch does to the index of message groups."""
        grouped = self.grouped_queues
        batch.grouped = [
            GroupRow(message.id, message.queue.queue_id, group_of(message.header))
            for message in batch.inserts
            if message.queue.queue_id in grouped
        ]
        batch.ungrouped = [message.id for message in batch.deletes if message.queue.queue_id in grouped]

    def _take_keyed(self, inserts: list[Message]) -> list[KeyedMessage]:
        """Return the messages that ask for keys and go with these inserts; add to `inserts` what else belongs to the
        same publishes.
        """
        keyed: list[KeyedMessage] = []
        taken = {message.id for message in inserts}
        while self._keyed:
            publish = self._keyed[0]
            stored = [message for message in publish if message.state == PENDING]
            if stored and stored[0].id not in taken:
                break
            self._keyed.popleft()
            keyed += publish
            for message in stored:
                if message.id not in taken:
                    del self._pending[message.id]
                    self._bytes -= message.weight
                    inserts.append(message)
        return keyed

    def _first_of(self, pending: dict[int, Message]) -> list[Message]:
        inserts = []
        room = self._limits.batch_bytes
        for message in islice(pending.values(), self._limits.batch_messages):
            inserts.append(message)
            room -= message.weight
            if room < 0:
                break
        for message in inserts:
            del pending[message.id]
            self._bytes -= message.weight
        return inserts

    async def _write(self, batch: Batch, groups: list[_Group]) -> None:
        """Write `batch`, however long the store is away; raises any error but `StoreUnavailable`.

        What concerns a branch that another node has prepared or resolved meanwhile is left out. When the store is full,
        what makes room is written ahead of the inserts, in transactions of its own.
        """
        settled = len(batch.deletes) - sum(len(group.deletes) for group in groups)
        backoff = self._limits.retry
        while batch:
            try:
                await self._store.write(batch)
            except StoreFull as error:
                self._is_without_room = True
                self._on_failed(error, self._limits.full_delay)
                settled = await self._make_room(batch, settled, groups)
                if batch:
                    await self._sleep(self._limits.full_delay)
            except BranchConflict as error:
                self._leave_out(error, batch, groups)
            except StoreUnavailable as error:
                self._on_failed(error, backoff.delay)
                await self._sleep(backoff.delay)
                backoff = backoff.longer()
            else:
                break
        self.is_failing = self._is_without_room = False

    def _leave_out(self, error: BranchConflict, batch: Batch, groups: list[_Group]) -> None:
        """Take the last of those groups out of the batch that concern the branch: whoever waits for it is told."""
        group = next((each for each in reversed(groups) if each.concerns(error.digest)), None)
        if group is None:
            raise error
        groups.remove(group)
        gone = set(map(id, chain(group.inserts, group.deletes)))
        batch.inserts[:] = [message for message in batch.inserts if id(message) not in gone]
        batch.deletes[:] = [message for message in batch.deletes if id(message) not in gone]
        batch.prepared[:] = [branch for each in groups for branch in each.prepared]
        batch.resolved[:] = [key for each in groups for key in each.resolved]
        others = set(map(id, group.keyed))
        if self.grouped_queues:
            self._index(batch)
        batch.keyed[:] = [message for message in batch.keyed if id(message) not in others]
        for append in batch.appends:
            append.leave_out({message.id for message in append.messages if id(message) in gone})
        if not group.done.cancelled():
            group.done.set_exception(error)

    async def _make_room(self, batch: Batch, settled: int, groups: list[_Group]) -> int:
        """Do what needs no room: deletes, purges, and reads of slots, whose consumers will lead to deletes.

        The first `settled` deletes of `batch` belong to no group; returns how many of them are left. A group with
        inserts is never taken apart. Purges stay in the batch, because they must come after its inserts, too.
        """
        self._end_reads(groups)
        settled = await self._delete_alone(batch.deletes, settled)
        if settled:
            return settled
        inserted = {message.id for message in batch.inserts}
        for group in [group for group in groups if group.deletes and group.may_be_parted]:
            if not inserted.isdisjoint(message.id for message in group.deletes):
                continue
            if not await self._try_alone(Batch(deletes=[*group.deletes])):
                return settled
            gone = set(map(id, group.deletes))
            batch.deletes[:] = [message for message in batch.deletes if id(message) not in gone]
            self._end(group)
            groups.remove(group)
        if batch.purges:
            await self._try_alone(Batch(purges=batch.purges))
        await self._delete_alone(self._deletes, len(self._deletes))
        return settled

    def _end_reads(self, groups: list[_Group]) -> None:
        """Let those slots be read of which nothing waits to be written."""
        for waiting in (groups, self._groups):
            for group in [group for group in waiting if group.reads and not self._is_touched(group.reads)]:
                self._end(group)
                waiting.remove(group)

    def _end(self, group: _Group) -> None:
        if not group.done.cancelled():
            group.done.set_result(None)

    def _on_failed(self, error: StoreUnavailable, delay: float) -> None:
        self.counters.retries += 1
        # A disk can stay full for hours: one line says it.
        if not (self.is_failing and isinstance(error, StoreFull)):
            _log.warning("store write failed, will retry", reason=str(error), delay=delay)
        self.is_failing = True
        self._update_full()

    async def _delete_alone(self, deletes: list[Message], count: int) -> int:
        """Delete the rows of the first `count` messages, take those from the list and return how many are left."""
        while count:
            part = deletes[: min(count, self._limits.batch_deletes_when_full)]
            if not await self._try_alone(Batch(deletes=part)):
                break
            del deletes[: len(part)]
            count -= len(part)
        return count

    async def _try_alone(self, batch: Batch) -> bool:
        """Write deletes or purges to a store without room; return whether that was possible."""
        if self.grouped_queues:
            self._index(batch)
        try:
            await self._store.write(batch)
        except StoreUnavailable:
            return False
        self.counters.commits += 1
        self.counters.deleted += len(batch.deletes)
        return True

    def _committed(self, batch: Batch, groups: list[_Group]) -> None:
        touched = self._touched_confirms
        if batch.keyed:
            self._decide(batch)
        for message in batch.inserts:
            state = message.state
            if state == WRITING:
                message.state = STORED
            elif state == WRITING_SETTLED:
                message.state = SETTLED
                message.header = message.body = b""
                message.chunks = None
                self._deletes.append(message)
            else:
                continue
            confirms = message.confirms
            if confirms is not None:
                touched.add(confirms)
        for append in batch.appends:
            self._appended(append)
        counters = self.counters
        counters.commits += bool(batch)
        counters.inserted += len(batch.inserts)
        counters.deleted += len(batch.deletes)
        for group in groups:
            for message in group.inserts:
                if message.id not in batch.duplicates:
                    message.state = STORED
            self._end(group)
        self._update_full()
        if batch.keyed:
            self._on_decided(batch.keyed)
        if batch.appends:
            self._on_appended(batch.appends)
        self._on_settled()

    def _appended(self, append: StreamAppend) -> None:
        """What was appended to a stream is safe."""
        self.counters.inserted += len(append.messages)
        for message in append.messages:
            message.state = STORED
            if message.confirms is not None:
                self._touched_confirms.add(message.confirms)

    def _decide(self, batch: Batch) -> None:
        """Let those know whether they have got their keys that asked for them; who has not is settled."""
        for message in batch.keyed:
            message.is_decided = True
            message.claims = ()
            if message.state == TRANSIENT:
                self._held = max(self._held - message.weight, 0)
            if message.id in batch.duplicates:
                self.counters.duplicates += 1
                self.counters.inserted -= message.state != TRANSIENT
                message.state = SETTLED
                message.header = message.body = b""
                message.chunks = None
                if message.confirms is not None:
                    self._touched_confirms.add(message.confirms)

    def _update_full(self) -> None:
        limits = self._limits
        waiting = len(self._pending) + len(self._spills) + len(self._appends)
        octets = self._bytes + self._held
        if not self.is_full:
            full = octets > limits.pending_bytes or waiting > limits.pending_messages
        else:
            full = octets > limits.pending_bytes // 2 or waiting > limits.pending_messages // 2
        if full != self.is_full:
            self.is_full = full
            self._on_full(full)

    def check_full(self) -> bool:
        """Return whether publishers should wait, after what they have just appended."""
        if not self.is_full:
            self._update_full()
        return self.is_full
