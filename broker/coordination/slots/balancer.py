"""What this node asks other nodes for, and what it hands off to them (ADR 19).

Local consumers come first, and the overflow goes to other nodes. Pure: does no I/O and reads no clock; `runner` carries
out what it decides.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final, TypeAlias

from broker.coordination.slots.demand import Coordinator, DemandSession, Poll
from broker.coordination.slots.handoff import Portion
from broker.coordination.slots.owned import OwnedSlots
from broker.ports.cluster_rows import Incarnation, SlotRow, slot_of
from broker.ports.peer_calls import Demand, Grant, Supply
from broker.ports.slot import Slot
from broker.queue.length_limit import LengthElsewhere
from broker.queue.queue import Queue

TICK: Final = 0.5
"""Seconds between two calls of `on_tick`."""
_CLAIM_AFTER: Final = 2.0
"""Seconds without an answer of the coordinator after which a node with demand helps itself (ADR 19)."""
_CLAIM_LIMIT: Final = 8
_FETCH_TICKS: Final = 3
_ANY_TIME: Final = -inf
"""When a slot was granted that a coordinator's answer tells of: the store has a grant for as long before as that answer
takes.
"""

Counted: TypeAlias = tuple[LengthElsewhere, Queue, int, int]
"""A queue, and how many messages and octets are ready in it."""


def _nobody(queue: Queue) -> None:
    """Nobody has to be told."""


@dataclass(frozen=True, slots=True, eq=False)
class Release:
    """Another node has asked for so many messages of `queue`."""

    queue: Queue
    messages: int


@dataclass(frozen=True, slots=True)
class Surplus:
    """Hand these portions off; `release` is answered with how many messages that were."""

    wishes: Mapping[Queue, Portion]
    release: Release | None = None


@dataclass(frozen=True, slots=True)
class ClaimFree:
    """Assign free slots of these queues to this node itself; answer with `on_claimed`, if it comes to that."""

    queue_ids: Collection[int]
    asked_at: float

    def choose(self, rows: Iterable[SlotRow]) -> Sequence[SlotRow]:
        """Return which of the store's slots to assign."""
        return [row for row in rows if row.owner is None and row.queue_id in self.queue_ids][:_CLAIM_LIMIT]


class Balancer:
    """Weighs what this node's consumers take against the demand of other nodes.

    Every queue of a clustered node tells `after_dispatch`. The edge carries out what `next_action` returns, one after
    the other, and asks again when `on_due` was called.
    """

    def __init__(
        self,
        demand: DemandSession,
        owned: OwnedSlots,
        *,
        queues: Callable[[], Iterable[Queue]],
        find_queue: Callable[[int], Queue | None],
        consumers_elsewhere: Callable[[Queue], Collection[Incarnation]],
        is_kept_elsewhere: Callable[[Queue], bool],
        see_to_end: Callable[[Queue], None] = _nobody,
        wake: Callable[[Queue], None],
        on_due: Callable[[], None],
    ) -> None:
        """`consumers_elsewhere` are the other nodes with consumers of a queue; `is_kept_elsewhere`: does one of them
        keep its length? `see_to_end` lets this node say that it consumes a queue no more, when nothing of it is
        held here. `wake` dispatches a queue of which consumers may have messages again.
        """
        self._demand = demand
        self._owned = owned
        self._queues = queues
        self._find_queue = find_queue
        self._consumers_elsewhere = consumers_elsewhere
        self._is_kept_elsewhere = is_kept_elsewhere
        self._see_to_end = see_to_end
        self._wake = wake
        self._is_alone = False
        self._on_due = on_due
        self._remote_demand: dict[int, int] = {}
        # In the order in which they came, so that a run can be repeated.
        self._surplus: dict[Queue, None] = {}
        self._offers: dict[Queue, None] = {}
        self._releases: deque[Release] = deque()
        self._taken_before: dict[int, int] = {}
        """By queue id, the newest message that consumers had taken at the last tick."""
        self._exact: dict[int, Queue] = {}
        """Those of the queues of which no node may have more than its consumers take, by queue id."""
        self._yielding: dict[int, bool] = {}
        """By id of a queue of which consumers wait for others elsewhere, whether it has given any since the tick."""
        self._fetched: dict[int, int] = {}
        """By queue id, the ticks for which what a basic.get has brought here stays."""
        self.is_stopping = False

    # What queues tell

    def after_dispatch(self, queue: Queue) -> None:
        """Note whether `queue` has demand, or has what others want. Hot: called once per batch."""
        queue_id = queue.queue_id
        if queue.consumers:
            if not self._demand.has_demand(queue_id) and queue.has_demand:
                self._demand.add(queue)
        elif self._demand.has_demand(queue_id):
            self._demand.withdraw(queue)
        if queue_id in self._remote_demand and queue.has_ready:
            self._surplus[queue] = None
            self._on_due()

    def after_exact_dispatch(self, queue: Queue) -> None:
        """Likewise of a queue that `is_exact`: ask for what consumers have credit for, and give away what they leave,
        if another node keeps the queue's length (ADR 67).
        """
        queue_id = queue.queue_id
        self._exact[queue_id] = queue
        if queue.turns.room(1) <= 0:
            self._demand.withdraw(queue)
        elif not self._demand.has_demand(queue_id) and queue.has_demand:
            self._demand.add_exactly(queue)
        self._see_to_keeper(queue)
        is_wanted = queue_id in self._remote_demand or self._must_give_away(queue)
        if is_wanted and queue.has_ready:
            self._surplus[queue] = None
            self._on_due()

    def on_fetch(self, queue: Queue) -> None:
        """A basic.get waits for a message of `queue` from another node: it is not to be given back before it is got."""
        self._fetched[queue.queue_id] = _FETCH_TICKS

    def _must_give_away(self, queue: Queue) -> bool:
        return queue.whole.elsewhere is not None and queue.queue_id not in self._fetched

    def _see_to_keeper(self, queue: Queue) -> None:
        """Find out which node keeps the length of a queue; without a coordinator each one does that for itself."""
        whole = queue.whole
        whole.keep_length(is_here=self._is_alone or not self._is_kept_elsewhere(whole))

    # What the coordinator says

    def next_poll(self, now: float, coordinator: Coordinator) -> Poll | None:
        """Return the next call to the coordinator, if one is due."""
        poll = self._demand.next_action(now, coordinator)
        if poll is not None and poll.is_first:
            self._remote_demand.clear()  # the coordinator tells it anew
            self._stand_firm(self._yielding)
        return poll

    def on_supply(self, poll: Poll, supply: Supply) -> Mapping[Queue, int]:
        """The coordinator has answered `poll`; return the queues that got slots, and how many."""
        if self._demand.on_answered(poll, supply):
            self._on_remote_demand(supply.remote_demand)
        for grant in supply.grants:
            self._demand.on_granted(grant.slot.queue_id, grant.slot.count)
        return self.adopt(supply.grants, _ANY_TIME)

    def adopt(self, grants: Iterable[Grant], granted_after: float) -> Mapping[Queue, int]:
        """Adopt slots that were assigned to this node, after that time; return the queues that got them."""
        return self._owned.adopt([_with_row(grant.slot) for grant in grants], granted_after)

    def after_grants(self, grants: Iterable[Grant]) -> None:
        """Ask for more where that is wanted: slots that are not believed, or are here already, do not help anybody."""
        for queue in dict.fromkeys(self._find_queue(grant.slot.queue_id) for grant in grants):
            if queue is not None:
                (self.after_exact_dispatch if queue.is_exact else self.after_dispatch)(queue)

    def _on_remote_demand(self, demands: Iterable[Demand]) -> None:
        """Note the demand that other nodes have now, 0 for none any more."""
        for demand in demands:
            queue_id = demand.queue.queue_id
            if demand.messages <= 0:
                self._remote_demand.pop(queue_id, None)
                if queue_id in self._yielding:
                    self._stand_firm([queue_id])
                continue
            self._remote_demand[queue_id] = demand.messages
            queue = self._find_queue(queue_id)
            if queue is not None and queue.turns.is_ranked:
                self._give_way(queue, demand.priority)
            if queue is not None and queue.ready_count:
                self._surplus[queue] = None
                self._on_due()

    def _give_way(self, queue: Queue, priority: int) -> None:
        """Consumers of this priority on other nodes have room: those of a lower one wait here (contract B17)."""
        self._yielding[queue.queue_id] = True
        if queue.give_way(priority):
            self._wake(queue)

    def _stand_firm(self, queue_ids: Iterable[int]) -> None:
        """No consumers of a higher priority on other nodes are waited for any more."""
        for queue_id in list(queue_ids):
            del self._yielding[queue_id]
            queue = self._find_queue(queue_id)
            if queue is not None and queue.give_way(None):
                self._wake(queue)

    def _see_to_yielding(self) -> None:
        """Let nobody wait for consumers elsewhere that get nothing of what is here, whatever the reason."""
        for queue_id, has_given in list(self._yielding.items()):
            queue = self._find_queue(queue_id)
            if queue is None or self._is_alone or (queue.has_ready and not has_given):
                self._stand_firm([queue_id])
            else:
                self._yielding[queue_id] = False

    # What is handed off

    def request(self, queue_id: int, messages: int) -> Release | None:
        """Note that another node asks for messages; None when there is nothing to release."""
        queue = self._find_queue(queue_id)
        if queue is None or not queue.ready_count or self.is_stopping:
            return None
        release = Release(queue, messages)
        self._releases.append(release)
        self._on_due()
        return release

    def stop(self) -> None:
        """Hand nothing off any more."""
        self.is_stopping = True
        self._on_due()

    def next_action(self) -> Surplus | None:
        """Return what to hand off now, if anything."""
        if self.is_stopping:
            return None
        if self._releases:
            release = self._releases.popleft()
            return Surplus({release.queue: Portion(release.messages)}, release)
        queues, self._surplus = self._surplus, {}
        offers, self._offers = self._offers, {}
        wishes = {queue: self._portion(queue) for queue in queues}
        wishes |= {queue: Portion(queue.ready_count) for queue in offers}
        wishes = {queue: portion for queue, portion in wishes.items() if portion.messages > 0}
        return Surplus(wishes) if wishes else None

    def everything(self) -> Surplus:
        """Return all that this node has: it leaves in order."""
        return Surplus({queue: Portion(queue.ready_count) for queue in self._queues() if queue.ready_count})

    def _portion(self, queue: Queue) -> Portion:
        """Return what to hand off: what others want, or the newer half while own consumers get on with the older one.

        That is all of the newer half, whatever others want: the node that is done first, which may be this one, takes
        the oldest of it.
        """
        if queue.is_exact:
            return Portion(
                queue.ready_count if self._must_give_away(queue) else self._remote_demand.get(queue.queue_id, 0)
            )
        if queue.queue_id in self._remote_demand and queue.turns.has_takers and not self._is_stuck(queue):
            return Portion(queue.ready_count // 2, newest=True)
        return Portion(self._remote_demand.get(queue.queue_id, 0))

    def _is_stuck(self, queue: Queue) -> bool:
        """Have own consumers taken nothing since the last tick?"""
        return self._taken_before.get(queue.queue_id, -1) == queue.slots.last_taken and not queue.slots.is_reading

    # What happens from time to time

    def on_tick(self, now: float, cut_off: Collection[Incarnation] = ()) -> ClaimFree | None:
        """Hand off what own consumers do not get on with; return the claim to make while the coordinator is away.

        What other nodes want cannot be told this one while the coordinator is away, nor what those that are `cut_off`
        want. They look for it in the store, so it is handed off unasked (invariant I61).
        """
        failing_since = self._demand.failing_since
        is_alone = self._is_alone = failing_since is not None and now - failing_since > _CLAIM_AFTER
        self._see_to_exact()
        self._see_to_yielding()
        queues = [queue for queue in map(self._find_queue, list(self._remote_demand)) if queue is not None]
        for queue in queues:
            if queue.ready_count and queue.can_hand_off:
                self._surplus[queue] = None
                self._on_due()
        self._taken_before = {queue.queue_id: queue.slots.last_taken for queue in queues if queue.ready}
        if is_alone or cut_off:
            self._offer(None if is_alone else cut_off)
        if not is_alone:
            return None
        return ClaimFree({queue.queue_id for queue in self._demand.queues}, now)

    def _see_to_exact(self) -> None:
        """Another node may keep the length of a queue now."""
        self._fetched = {queue_id: ticks - 1 for queue_id, ticks in self._fetched.items() if ticks > 1}
        for queue_id, queue in list(self._exact.items()):
            if queue.is_deleted or not queue.is_exact:
                del self._exact[queue_id]
                queue.whole.keep_length(is_here=True)
                continue
            self._see_to_end(queue.whole)
            self._see_to_keeper(queue)
            if self._must_give_away(queue) and queue.has_ready and queue.can_hand_off:
                self._surplus[queue] = None
                self._on_due()

    @property
    def limited(self) -> list[Queue]:
        """The queues on this node whose length matters to other nodes, or the other way round."""
        return list(dict.fromkeys(queue.whole for queue in self._exact.values()))

    def count(self, queues: Iterable[Queue]) -> list[Counted]:
        """Return what is ready of those queues whose length other nodes keep; `on_taken` is told then."""
        for queue in queues:
            if queue.queue_id in self._yielding and queue.can_hand_off:
                self._yielding[queue.queue_id] = True
        return [
            (elsewhere, each, each.ready_count, each.ready_octets)
            for each in queues
            if (elsewhere := each.whole.elsewhere) is not None
        ]

    def on_taken(self, before: Iterable[Counted]) -> None:
        """Messages were taken out of these queues for other nodes."""
        for elsewhere, queue, messages, octets in before:
            elsewhere.give(messages - queue.ready_count, octets - queue.ready_octets)

    def on_claimed(self, claim: ClaimFree, rows: Iterable[SlotRow]) -> Mapping[Queue, int]:
        """The store has assigned these slots to this node; return the queues that got them."""
        rows = list(rows)
        for row in rows:
            self._demand.on_granted(row.queue_id, row.count)
        return self._owned.adopt([slot_of(row) for row in rows], claim.asked_at)

    def _offer(self, to: Collection[Incarnation] | None) -> None:
        """Hand off, for other nodes to claim, all of the queues that have consumers on these nodes, but none here; with
        None, on any other node.
        """
        for queue in self._queues():
            if queue.ready_count and not queue.turns.has_takers:
                consuming = self._consumers_elsewhere(queue)
                if any(to is None or incarnation in to for incarnation in consuming):
                    self._offers[queue] = None
        if self._offers:
            self._on_due()


def _with_row(slot: Slot) -> Slot:
    slot.row = slot.start
    return slot
