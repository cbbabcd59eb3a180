"""This node's `SlotService`: it checks the caller and passes the call to the part that does the work.

Calls from other nodes arrive over Thrift; this node calls itself directly.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from broker.coordination.membership.agent import ClusterAgent
from broker.coordination.slots.coordinator import SlotManager
from broker.errors import Evicted
from broker.ports.cluster_rows import EventRow, Incarnation
from broker.ports.peer_calls import (
    Caller,
    Demand,
    Fence,
    FiguresPage,
    Grant,
    Hint,
    NotCoordinator,
    QueueCount,
    QueueName,
    ReplyPart,
    Supply,
    Unavailable,
)
from broker.ports.slot import Slot


@dataclass(frozen=True, slots=True)
class PeerCalls:
    """The calls that every node answers, coordinator or not; as in `SlotService`, but without the argument `caller`, or
    with the incarnation that calls.
    """

    push_events: Callable[[int, Sequence[EventRow]], Awaitable[int]]
    release: Callable[[QueueName, int], Awaitable[int]]
    purge_queue: Callable[[QueueName, int | None], Awaitable[int]]
    on_contact: Callable[[Incarnation, bool, int], None]
    deliver_replies: Callable[[Incarnation, int, Sequence[ReplyPart]], Awaitable[Sequence[bool]]]
    awaits_reply: Callable[[str, str], Awaitable[bool]]
    read_figures: Callable[[str, int], Awaitable[FiguresPage]]
    change_delayed: Callable[[str, Sequence[int], int], Awaitable[Sequence[int]]]
    operate: Callable[[str, bytes], Awaitable[bytes]]


@dataclass(slots=True)
class _Serving:
    agent: ClusterAgent
    manager: SlotManager
    calls: PeerCalls
    is_joining: bool = True


class NodeServices:
    """The `SlotService` of a process; between two incarnations of its node every call raises `Unavailable`."""

    def __init__(self, node_id: str) -> None:
        self._node_id = node_id
        self._serving: _Serving | None = None

    def begin(self, agent: ClusterAgent, manager: SlotManager, calls: PeerCalls) -> None:
        """Answer for the incarnation of `agent`: until `start` only to `contact` and `hint_resigned`."""
        self._serving = _Serving(agent, manager, calls)

    def start(self) -> None:
        """Answer every call: the incarnation has its topology."""
        assert self._serving is not None, "begin comes first"
        self._serving.is_joining = False

    def end(self) -> None:
        """Answer `Unavailable` from now on: the incarnation is over."""
        self._serving = None

    # What the coordinator answers

    async def get_slot(self, queue: QueueName, caller: Caller) -> Grant | None:
        return await self._manager(caller).get_slot(queue, caller)

    async def submit_slot(self, queue: QueueName, slot: Slot, caller: Caller) -> None:
        await self._manager(caller).submit_slot(queue, slot, caller)

    async def await_slots(self, demands: Sequence[Demand], wait_ms: int, caller: Caller) -> Supply:
        return await self._manager(caller).await_slots(demands, wait_ms, caller)

    async def exchange_counts(self, counts: Sequence[QueueCount], caller: Caller) -> Sequence[QueueCount]:
        return await self._manager(caller).exchange_counts(counts, caller)

    # What every node answers

    async def hint_resigned(self, resigned: Fence, caller: Caller) -> None:
        # The caller is not checked: it has just left, so it is not alive. Reading the nodes again does no harm.
        self._now(caller, is_joining=True).agent.on_hint()

    async def push_events(self, last_event_id: int, caller: Caller, events: Sequence[EventRow] = ()) -> int:
        # The caller need not be known: it may have just joined. What it pushes itself counts only if it is.
        serving = self._now(caller)
        is_known = self._look_out_for(caller, serving.agent)
        try:
            return await serving.calls.push_events(last_event_id, events if is_known else ())
        except Evicted as error:
            raise self._between_incarnations() from error

    async def contact(self, is_served: bool, caller: Caller, last_event_id: int = 0) -> None:
        self._living(caller, is_joining=True).calls.on_contact(
            Incarnation(caller.node_id, caller.incarnation), is_served, last_event_id
        )

    async def release(self, queue: QueueName, messages: int, caller: Caller) -> int:
        return await self._living(caller).calls.release(queue, messages)

    async def purge_queue(self, queue: QueueName, caller: Caller, last_event_id: int | None = None) -> int:
        return await self._living(caller).calls.purge_queue(queue, last_event_id)

    async def deliver_replies(self, call: int, replies: Sequence[ReplyPart], caller: Caller) -> Sequence[bool]:
        calls = self._living(caller).calls
        return await calls.deliver_replies(Incarnation(caller.node_id, caller.incarnation), call, replies)

    async def awaits_reply(self, vhost: str, address: str, caller: Caller) -> bool:
        return await self._living(caller).calls.awaits_reply(vhost, address)

    async def read_figures(self, kind: str, start: int, caller: Caller) -> FiguresPage:
        return await self._living(caller).calls.read_figures(kind, start)

    async def change_delayed(self, vhost: str, ids: Sequence[int], due: int, caller: Caller) -> Sequence[int]:
        return await self._living(caller).calls.change_delayed(vhost, ids, due)

    async def operate(self, operation: str, given: bytes, caller: Caller) -> bytes:
        return await self._living(caller).calls.operate(operation, given)

    # Who may ask what

    def _now(self, caller: Caller, *, is_joining: bool = False) -> _Serving:
        """Return what serves the call. Raises `Unavailable` between incarnations, when another node was meant, and
        while the node is starting unless the call `is_joining`, which makes no difference to it.
        """
        serving = self._serving
        if serving is None:
            raise self._between_incarnations()
        own = serving.agent.incarnation
        if caller.callee and (own is None or caller.callee != own.id):
            raise Unavailable(
                f"a call of '{caller.node_id}' for incarnation {caller.callee} has come to '{self._node_id}', which is"
                " another"
            )
        if serving.is_joining and not is_joining:
            raise Unavailable(f"node '{self._node_id}' is starting")
        return serving

    def _between_incarnations(self) -> Unavailable:
        return Unavailable(f"node '{self._node_id}' is not in the cluster at this moment")

    def _living(self, caller: Caller, *, is_joining: bool = False) -> _Serving:
        """Return what serves the call. Raises `Unavailable` unless this node knows that the caller is alive."""
        serving = self._now(caller, is_joining=is_joining)
        if not caller.incarnation:
            raise Unavailable(f"'{caller.node_id}' tells no incarnation: nodes of Andes cannot share this store")
        if not self._look_out_for(caller, serving.agent):
            raise Unavailable(
                f"node '{caller.node_id}' is not known to '{self._node_id}' in incarnation {caller.incarnation}"
            )
        return serving

    def _look_out_for(self, caller: Caller, agent: ClusterAgent) -> bool:
        """Return whether this node knows that the caller is alive; if not, have the nodes read again: it may be new."""
        if Incarnation(caller.node_id, caller.incarnation) in agent.living:
            return True
        agent.on_hint()
        return False

    def _manager(self, caller: Caller) -> SlotManager:
        agent = self._now(caller).agent
        if agent.fence is None:
            raise NotCoordinator(f"node '{self._node_id}' is not the coordinator", self._hint(agent))
        return self._living(caller).manager

    def _hint(self, agent: ClusterAgent) -> Hint | None:
        if agent.coordinator is None or agent.coordinator[:2] == agent.address:
            return None
        host, port, fence = agent.coordinator
        return Hint(host, port, fence.epoch)
