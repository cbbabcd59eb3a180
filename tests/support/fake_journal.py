"""The journal without a loop: what was taken lies there until a test says `commit`.

Keeps the states of messages as the real one does; its store is a real one, so what is on disk can be asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from broker.codec.message_group import group_of
from broker.message import PENDING, SETTLED, STORED, KeyedMessage, Message
from broker.ports.branches import BranchKey, PreparedBranch
from broker.ports.groups import GroupRow
from broker.ports.slot import Slot
from broker.ports.store import Batch, MessageStore
from broker.ports.streams import StreamAppend
from broker.store.stream_rows import part_streams
from tests.support.stage import Gate, drive


class FakeJournal:
    """Group commit by hand. A shut `gate` keeps transactions and purges waiting."""

    def __init__(self, store: MessageStore, touched_confirms: set[Any], gate: Gate) -> None:
        self._store = store
        self._touched_confirms = touched_confirms
        self._gate = gate
        self._pending: dict[int, Message] = {}
        self._appends: list[Message] = []
        self._spills: list[Message] = []
        self._deletes: list[Message] = []
        self._recounts: dict[int, Message] = {}
        self._keyed: list[KeyedMessage] = []
        self.on_decided: Callable[[Sequence[KeyedMessage]], None] = lambda keyed: None
        self.on_appended: Callable[[Sequence[StreamAppend]], None] = lambda appends: None
        self.grouped_queues: set[int] = set()
        self.is_full = False
        self.held = 0
        self.transactions = 0

    def append(self, message: Message) -> None:
        assert message.state == PENDING
        self._pending[message.id] = message

    def append_to_stream(self, message: Message) -> None:
        assert message.state == PENDING
        self._appends.append(message)

    def append_keyed(self, messages: Sequence[KeyedMessage]) -> None:
        for message in messages:
            if message.state == PENDING:
                self.append(message)
        self._keyed += messages

    def settle(self, message: Message) -> None:
        if message.state == PENDING:
            del self._pending[message.id]
            message.state = SETTLED
            if message.confirms is not None:
                self._touched_confirms.add(message.confirms)
        elif message.state == STORED:
            message.state = SETTLED
            self._deletes.append(message)
        else:
            raise AssertionError(f"{message!r} settled twice")

    def spill(self, message: Message) -> None:
        self._spills.append(message)

    def forget(self, message: Message) -> None:
        self._deletes.append(message)

    def hold(self, octets: int) -> None:
        self.held += octets

    def recount(self, message: Message) -> None:
        assert message.state == STORED
        self._recounts[message.id] = message

    async def transact(
        self,
        inserts: Sequence[Message],
        deletes: Sequence[Message],
        *,
        prepared: Sequence[PreparedBranch] = (),
        resolved: Sequence[BranchKey] = (),
        keyed: Sequence[KeyedMessage] = (),
    ) -> None:
        await self._gate.passed()
        self.transactions += 1
        if prepared or resolved:
            self.commit()  # what waits is written even if the branches are not as expected
        branches = {"prepared": list(prepared), "resolved": list(resolved)}
        self.commit(Batch(list(inserts), list(deletes), keyed=list(keyed), **branches))

    async def purge(self, slots: Sequence[Slot]) -> None:
        await self._gate.passed()
        self.commit(Batch(purges=list(slots)))

    async def give(self, slots: Sequence[Slot]) -> None:
        await self._gate.passed()
        self.commit(Batch(slots=list(slots)))

    async def flushed(self) -> None:
        self.commit()

    async def readable(self, slot: Slot) -> None:
        self.commit()

    @property
    def oldest_waiting(self) -> int | None:
        return next(iter(self._pending), None)

    def check_full(self) -> bool:
        return self.is_full

    def commit(self, group: Batch | None = None) -> None:
        """Write all that waits, and `group` with it, in one transaction."""
        group = group or Batch()
        written = [*self._pending.values(), *group.inserts]
        batch = Batch([*written, *self._spills], [*self._deletes, *group.deletes], group.purges, slots=group.slots)
        batch.recounts = list(self._recounts.values())
        batch.prepared, batch.resolved = group.prepared, group.resolved
        batch.keyed = [*self._keyed, *group.keyed]
        grouped = self.grouped_queues
        batch.grouped = [
            GroupRow(each.id, each.queue.queue_id, group_of(each.header))
            for each in written
            if each.queue.queue_id in grouped
        ]
        batch.ungrouped = [each.id for each in batch.deletes if each.queue.queue_id in grouped]
        self._pending, self._spills, self._deletes, self._recounts, self._keyed = {}, [], [], {}, []
        part_streams(batch, self._appends)
        written += self._appends
        self._appends = []
        drive(self._store.write(batch))
        for keyed in batch.keyed:
            keyed.is_decided = True
            if keyed.id in batch.duplicates:
                keyed.state = SETTLED
        for message in written:
            message.state = SETTLED if message.id in batch.duplicates else STORED
            if message.confirms is not None:
                self._touched_confirms.add(message.confirms)
        if batch.keyed:
            self.on_decided(batch.keyed)
        if batch.appends:
            self.on_appended(batch.appends)
