"""A slot service in memory: what a coordinator does, without a store, and a log of what it was told.

Held to the contract of `SlotService` by tests/contract/test_slot_service.py.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from broker.ports.cluster_rows import EventRow
from broker.ports.peer_calls import Caller, Demand, Fence, FiguresPage, Grant, QueueCount, QueueName, ReplyPart, Supply
from broker.ports.slot import Slot


class MemorySlotService:
    """Answers as a coordinator, or with `failure` when that is set."""

    def __init__(self) -> None:
        self.fence = Fence(7, "term-7")
        self.failure: Exception | None = None
        self.callers: list[Caller] = []
        self.resigned: list[Fence] = []
        self.contacts: list[tuple[str, bool]] = []
        self.heads: list[int] = []
        self.events: list[EventRow] = []
        self.applied = 0
        self.ready: dict[str, int] = {}
        self.wanted: dict[str, Demand] = {}
        self.cancelled_polls = 0
        self.changed = asyncio.Event()
        self._free: dict[str, deque[Slot]] = {}
        self._grants: dict[str, list[Grant]] = {}
        self._answers: dict[tuple[str, str], Grant | None] = {}
        self._counts: dict[str, Sequence[QueueCount]] = {}
        self.replies: dict[tuple[str, str], list[ReplyPart]] = {}
        self.figures: dict[tuple[str, int], tuple[bytes, int]] = {}
        self.operations: list[tuple[str, bytes]] = []
        self.delayed: dict[tuple[str, int], int] = {}
        """What is answered for a delayed message, by virtual host and id."""
        """By virtual host and address: what has come for those who wait there."""

    async def get_slot(self, queue: QueueName, caller: Caller) -> Grant | None:
        self._begin(caller)
        key = (caller.node_id, caller.request_id)
        if caller.request_id and key in self._answers:
            return self._answers[key]
        grant = self._answers[key] = self._assign(queue, caller)
        return grant

    async def submit_slot(self, queue: QueueName, slot: Slot, caller: Caller) -> None:
        self._begin(caller)
        held = [grant.slot for grant in self._grants.get(queue.name, [])]
        if slot not in (*self._free.get(queue.name, ()), *held):
            self._free.setdefault(queue.name, deque()).append(slot)
            self._change()

    async def await_slots(self, demands: Sequence[Demand], wait_ms: int, caller: Caller) -> Supply:
        self._begin(caller)
        try:
            async with asyncio.timeout(wait_ms / 1000):
                while not (supply := self._supply(demands, caller)):
                    await self.changed.wait()
        except TimeoutError:
            return Supply(fence=self.fence)
        except asyncio.CancelledError:
            self.cancelled_polls += 1
            self._change()
            raise
        return supply

    async def push_events(self, last_event_id: int, caller: Caller, events: Sequence[EventRow] = ()) -> int:
        self._begin(caller)
        self.events += events
        while self.applied < last_event_id:
            await self.changed.wait()
        return self.applied

    async def hint_resigned(self, resigned: Fence, caller: Caller) -> None:
        self._begin(caller)
        self.resigned.append(resigned)

    async def contact(self, is_served: bool, caller: Caller, last_event_id: int = 0) -> None:
        self._begin(caller)
        self.contacts.append((caller.node_id, is_served))
        self.heads.append(last_event_id)

    async def release(self, queue: QueueName, messages: int, caller: Caller) -> int:
        self._begin(caller)
        given = min(messages, self.ready.get(queue.name, 0))
        self.ready[queue.name] = self.ready.get(queue.name, 0) - given
        return given

    async def purge_queue(self, queue: QueueName, caller: Caller, last_event_id: int | None = None) -> int:
        self._begin(caller)
        self.heads.append(-1 if last_event_id is None else last_event_id)
        return self.ready.pop(queue.name, 0)

    async def exchange_counts(self, counts: Sequence[QueueCount], caller: Caller) -> Sequence[QueueCount]:
        self._begin(caller)
        self._counts[caller.node_id] = counts
        sums: dict[int, QueueCount] = {}
        for node_id, told in self._counts.items():
            for each in told if node_id != caller.node_id else ():
                before = sums.get(each.queue_id, QueueCount(each.queue_id, 0, 0))
                sums[each.queue_id] = QueueCount(
                    each.queue_id, before.ready + each.ready, before.consumers + each.consumers
                )
        return list(sums.values())

    async def deliver_replies(self, call: int, replies: Sequence[ReplyPart], caller: Caller) -> Sequence[bool]:
        self._begin(caller)
        answer = []
        for part in replies:
            waiting = self.replies.get((part.vhost, part.address))
            answer.append(waiting is not None)
            if waiting is not None:
                waiting.append(part)
        return answer

    async def awaits_reply(self, vhost: str, address: str, caller: Caller) -> bool:
        self._begin(caller)
        return (vhost, address) in self.replies

    async def read_figures(self, kind: str, start: int, caller: Caller) -> FiguresPage:
        self._begin(caller)
        rows, following = self.figures.get((kind, start), (b"[]", 0))
        return FiguresPage(rows, following)

    async def change_delayed(self, vhost: str, ids: Sequence[int], due: int, caller: Caller) -> Sequence[int]:
        self._begin(caller)
        return [self.delayed.pop((vhost, each), 0) + bool(due) for each in ids]

    async def operate(self, operation: str, given: bytes, caller: Caller) -> bytes:
        self._begin(caller)
        self.operations.append((operation, given))
        return given

    def apply_events(self, last_event_id: int) -> None:
        """Topology events up to this one are applied."""
        self.applied = last_event_id
        self._change()

    def want(self, demand: Demand) -> None:
        """Somebody else wants messages of a queue."""
        self.wanted[demand.queue.name] = demand
        self._change()

    def _begin(self, caller: Caller) -> None:
        self.callers.append(caller)
        self._change()
        if self.failure is not None:
            raise self.failure

    def _change(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    def _assign(self, queue: QueueName, caller: Caller) -> Grant | None:
        if not self._free.get(queue.name):
            return None
        slot = self._free[queue.name].popleft()
        grant = Grant(queue, slot, caller.node_id, self.fence, caller.request_id)
        self._grants.setdefault(queue.name, []).append(grant)
        return grant

    def _supply(self, demands: Sequence[Demand], caller: Caller) -> Supply | None:
        grants = [grant for demand in demands if (grant := self._assign(demand.queue, caller)) is not None]
        wanted = tuple(self.wanted.values())
        self.wanted.clear()
        return Supply(tuple(grants), wanted, self.fence) if grants or wanted else None
