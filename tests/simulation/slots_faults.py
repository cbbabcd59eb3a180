"""Faults that a test plants in the real slot logic and in the store: subclasses that leave out one rule each.

What comes of them the checks must find, which know of none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any, Final

from broker.coordination.slots.balancer import Balancer, ClaimFree
from broker.coordination.slots.coordinator import SlotManager
from broker.coordination.slots.demand import Coordinator, Poll
from broker.coordination.slots.handoff import CutSlots, Flush, Handoff, HandoffPlan, HandoffStep, MarkRedelivered
from broker.coordination.slots.owned import FinishSlots, OwnedAction, OwnedSlots, ReadOwned
from broker.coordination.slots.runner import Deciders
from broker.message import Message
from broker.ports.cluster_rows import Incarnation, SlotRow
from broker.ports.peer_calls import Caller, Demand, Fence, Grant, Supply
from broker.ports.slot import Slot
from broker.queue.queue import Queue
from broker.store.memory.cluster import LaneRow
from broker.store.memory.slots import MemorySlotStore
from broker.store.memory.state import MemoryState


@dataclass(frozen=True)
class Plant:
    """The classes a run is made of, and what else may be wrong with it; it must break one of the `rules` first."""

    rules: str = ""
    deciders: Deciders = field(default_factory=Deciders)
    slots: type[MemorySlotStore] = MemorySlotStore
    state: type[MemoryState] = MemoryState
    manager: type[SlotManager] = SlotManager
    rescan_interval: float = 1.0
    delivers_without_trust: bool = False
    knows_keeper: bool = True
    """Do nodes know which of them keeps the length of a queue?"""


SOUND: Final = Plant()


# The store


class AssignsWithoutCompareAndSet(MemorySlotStore):
    async def assign(self, rows: Sequence[SlotRow], incarnation: Incarnation, fence: Fence) -> list[SlotRow]:
        state = self._opened()
        for row in rows:
            present = state.slots.get(row.start)
            if present is not None and present.end == row.end:
                state.slots[row.start] = replace(present, owner=None)
        return await super().assign(rows, incarnation, fence)


class AssignsWithoutFence(MemorySlotStore):
    async def assign(self, rows: Sequence[SlotRow], incarnation: Incarnation, fence: Fence) -> list[SlotRow]:
        return await super().assign(rows, incarnation, await self.fence())


class AssignsToAnybody(MemorySlotStore):
    async def assign(self, rows: Sequence[SlotRow], incarnation: Incarnation, fence: Fence) -> list[SlotRow]:
        state = self._opened()
        state.pass_fence(fence)
        owned = []
        for row in rows:
            present = state.slots.get(row.start)
            if present is not None and present.end == row.end and present.owner in (None, incarnation):
                owned.append(replace(present, owner=incarnation))
                state.slots[row.start] = owned[-1]
        return owned


class ReclaimsWithoutFence(MemorySlotStore):
    async def reclaim(self, fence: Fence, size: int) -> int:
        return await super().reclaim(await self.fence(), size)


class ReclaimsFromAll(MemorySlotStore):
    async def reclaim(self, fence: Fence, size: int) -> int:
        state = self._opened()
        state.pass_fence(fence)
        for row in list(state.slots.values()):
            state.slots[row.start] = replace(row, owner=None, maybe_delivered=True)
        return await super().reclaim(fence, size)


class ReclaimsUnflagged(MemorySlotStore):
    async def reclaim(self, fence: Fence, size: int) -> int:
        state = self._opened()
        before = dict(state.slots)
        count = await super().reclaim(fence, size)
        for row in list(state.slots.values()):
            former = before.get(row.start)
            if former != row:
                state.slots[row.start] = replace(row, maybe_delivered=former is not None and former.maybe_delivered)
        return count


class FinishesTooEarly(MemorySlotStore):
    async def finish(self, starts: Sequence[int], incarnation: Incarnation) -> list[int]:
        state = self._opened()
        state.check_incarnation(incarnation)
        mine = [start for start in starts if start in state.slots and state.slots[start].owner == incarnation]
        for start in mine:
            del state.slots[start]
        return mine


class ChecksNoIncarnation(MemoryState):
    def check_incarnation(self, incarnation: Incarnation) -> LaneRow:
        return self.cluster.lanes[incarnation.node_id]


# What a node hands off


class ForgetsWhatIsHeld(Handoff):
    def _held(self, queue: Queue) -> list[int]:
        return []


class BeginsWhereReadingEnded(Handoff):
    def _is_start_known(self, queue: Queue) -> bool:
        return True


class GoesOverWhatIsHeld(Handoff):
    def _barriers(self, queue: Queue, windows: Sequence[Slot], held: Sequence[int]) -> list[int]:
        return super()._barriers(queue, windows, ())


class GoesOverOtherSlots(Handoff):
    def _note_starts(self, queue: Queue, slots: Sequence[Slot], oldest: int | None) -> None:
        """Remember nothing."""


class CutsBeforeAllIsWritten(Handoff):
    def _steps(self, cut: object, redelivered: list[Message]) -> list[HandoffStep]:
        steps = super()._steps(cut, redelivered)  # type: ignore[arg-type]
        return [step for step in steps if not isinstance(step, Flush)]


class MarksNothing(Handoff):
    def _steps(self, cut: object, redelivered: list[Message]) -> list[HandoffStep]:
        steps = super()._steps(cut, redelivered)  # type: ignore[arg-type]
        return [step for step in steps if not isinstance(step, MarkRedelivered)]


class ForgetsWhatIsKept(Handoff):
    def _steps(self, cut: object, redelivered: list[Message]) -> list[HandoffStep]:
        steps = super()._steps(cut, redelivered)  # type: ignore[arg-type]
        return [CutSlots(replace(step.cut, kept=[])) if isinstance(step, CutSlots) else step for step in steps]


class DoesNotNoteWhatIsCut(Handoff):
    def on_done(self, plan: HandoffPlan, now: float) -> None:
        """Go on as if the slots were still this node's."""


# What the coordinator is asked for


class BelievesLatePolls(SlotManager):
    async def await_slots(self, demands: Sequence[Demand], wait_ms: int, caller: Caller) -> Supply:
        return await super().await_slots(demands, wait_ms, replace(caller, session=0, poll=0))


# What a node asks for


class TakesEveryAnswerForNew(Balancer):
    def __init__(self, *parts: Any, **more: Any) -> None:
        super().__init__(*parts, **more)
        self._asked: dict[Poll, float] = {}
        self._asked_at = -inf

    def next_poll(self, now: float, coordinator: Coordinator) -> Poll | None:
        poll = super().next_poll(now, coordinator)
        if poll is not None:
            self._asked[poll] = now
        return poll

    def on_supply(self, poll: Poll, supply: Supply) -> Mapping[Queue, int]:
        self._asked_at = self._asked.pop(poll)
        try:
            return super().on_supply(poll, supply)
        finally:
            self._asked_at = -inf

    def adopt(self, grants: Iterable[Grant], granted_after: float) -> Mapping[Queue, int]:
        return super().adopt(grants, max(granted_after, self._asked_at))


class OffersOnlyWhenItIsAlone(Balancer):
    def on_tick(self, now: float, cut_off: Collection[Incarnation] = ()) -> ClaimFree | None:
        return super().on_tick(now)


# What a node owns


class AdoptsTwice(OwnedSlots):
    def adopt(self, slots: Iterable[Slot], granted_after: float) -> Mapping[Queue, int]:
        slots = list(slots)
        for slot in slots:
            self._slots.get(slot.queue_id, {}).pop(slot.row, None)
        return super().adopt(slots, granted_after)


class BelievesOldAnswers(OwnedSlots):
    def _is_doubtful(self, slot: Slot, granted_after: float) -> bool:
        return False


class NeverReconciles(OwnedSlots):
    def next_action(self, now: float) -> OwnedAction | None:
        action = super().next_action(now)
        return super().next_action(now) if isinstance(action, ReadOwned) else action


class NeverFinishes(OwnedSlots):
    def finish_due(self, now: float) -> FinishSlots | None:
        return None


class ForgetsWhatIsLeft(OwnedSlots):
    def on_finished(self, action: FinishSlots, finished: Collection[int]) -> None:
        super().on_finished(action, action.starts)


class DeliversLateSlotsUnflagged(OwnedSlots):
    def adopt(self, slots: Iterable[Slot], granted_after: float) -> Mapping[Queue, int]:
        granted = list(slots)
        adopted = super().adopt(granted, granted_after)
        for slot in granted:
            slot.is_late = False
        return adopted


PLANTS: Final = {
    "assign without CAS": Plant("I53 I21 error", slots=AssignsWithoutCompareAndSet),
    "assign without fence": Plant("I51", slots=AssignsWithoutFence),
    "assign to anybody": Plant("I54", slots=AssignsToAnybody),
    "reclaim without fence": Plant("I51", slots=ReclaimsWithoutFence),
    "reclaim from all": Plant("I53", slots=ReclaimsFromAll),
    "reclaim unflagged": Plant("I21", slots=ReclaimsUnflagged),
    "no check of incarnations": Plant("I54", state=ChecksNoIncarnation),
    "finish too early": Plant("I63 I53 error", slots=FinishesTooEarly),
    "no rescan": Plant("I63", rescan_interval=1e6),
    "deliver without trust": Plant("I53", delivers_without_trust=True),
    "hand off, forget what is held": Plant("I14 I53 I63", deciders=Deciders(handoff=ForgetsWhatIsHeld)),
    "hand off from where reading ended": Plant("error", deciders=Deciders(handoff=BeginsWhereReadingEnded)),
    "hand off over what is held": Plant("I53 I21 error", deciders=Deciders(handoff=GoesOverWhatIsHeld)),
    "hand off over other slots": Plant("I52 error", deciders=Deciders(handoff=GoesOverOtherSlots)),
    "cut before all is written": Plant("I63", deciders=Deciders(handoff=CutsBeforeAllIsWritten)),
    "cut forgets what is kept": Plant("I63 I53", deciders=Deciders(handoff=ForgetsWhatIsKept)),
    "cut is not noted": Plant("I63 I53", deciders=Deciders(handoff=DoesNotNoteWhatIsCut)),
    "no mark of redelivery": Plant("I21", deciders=Deciders(handoff=MarksNothing)),
    "adopt twice": Plant("I21 I14 error", deciders=Deciders(owned=AdoptsTwice)),
    "believe old answers": Plant("I53", deciders=Deciders(owned=BelievesOldAnswers)),
    "take every answer for new": Plant("I53", deciders=Deciders(balancer=TakesEveryAnswerForNew)),
    "no reconciliation": Plant("I63", deciders=Deciders(owned=NeverReconciles)),
    "never finish": Plant("I63", deciders=Deciders(owned=NeverFinishes)),
    "forget what is not finished": Plant("error I53 I63", deciders=Deciders(owned=ForgetsWhatIsLeft)),
    "believe late polls": Plant("I63", manager=BelievesLatePolls),
    "late slots unflagged": Plant("I32", deciders=Deciders(owned=DeliversLateSlotsUnflagged)),
}
