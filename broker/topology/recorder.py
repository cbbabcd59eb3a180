"""Changes topology in three steps, decide, record, apply: many changes to a commit, clients in turn.

Knows no event loop: what waits for its turn waits for an event that it is given.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from broker.errors import Evicted, StoreUnavailable
from broker.ports.cluster import Cluster, TopologyMoved
from broker.ports.records import Change
from broker.ports.slot import Slot
from broker.queue.queue import Queue
from broker.topology.decision import Decision, Footprint
from broker.topology.fair_queue import FairQueue
from broker.turn_budget import TurnBudget

T = TypeVar("T")
Lock: TypeAlias = AbstractAsyncContextManager[Any]

ROUND: Final = 64
"""At most so many changes are recorded with one commit; half of it is kept for clients, if they ask."""
_CHANGE_STEPS: Final = 30
"""What a change costs to decide and apply, in steps of work."""


class Wakeup(Protocol):
    """What `asyncio.Event` is."""

    def set(self) -> object: ...

    async def wait(self) -> object: ...


async def _wait(event: Wakeup) -> None:
    await event.wait()


@dataclass(slots=True, eq=False)
class _Request:
    """A change that is asked for, and what has come of it."""

    decide: Callable[[], Decision[Any]]
    call: _Call
    is_single: bool = False
    """Whether it is recorded by itself, because a commit together with others has failed."""
    was_refused: bool = False
    result: Any = None
    error: Exception | None = None

    def fail(self, error: Exception) -> None:
        """There is nothing to wait for any more: the change cannot be made."""
        self.error = error
        self.call.on_done()


@dataclass(slots=True, eq=False)
class _Call:
    """Requests of one caller, who waits for all of them."""

    client: Hashable
    queue: FairQueue[_Request]
    undone: int = 0
    event: Wakeup | None = None
    to_purge: list[Slot] = field(default_factory=list)
    recorded: int = 0
    """The id of the last topology event that one of the requests has become."""

    def on_done(self) -> None:
        """One of the requests is done."""
        self.undone -= 1
        if not self.undone:
            self.wake()

    def wake(self) -> None:
        """Let the caller look what it is to do."""
        if self.event is not None:
            self.event.set()


class Recorder:
    """The only way to change the virtual hosts of a node.

    Changes that wait are recorded in rounds of one commit each; whoever waits and finds nobody doing it does the rounds
    until its own change is made. What nothing records is applied at once (ADR 39).
    """

    def __init__(
        self,
        cluster: Cluster[Queue],
        apply: Callable[[Change], Sequence[Slot]],
        purge: Callable[[Sequence[Slot]], Awaitable[None]],
        *,
        lock: Lock,
        new_event: Callable[[], Wakeup],
        work: TurnBudget,
        next_turn: Callable[[], Awaitable[None]],
        wait_as_client: Callable[[Wakeup], Awaitable[None]] = _wait,
        on_change: Callable[[Change, Hashable], None] | None = None,
    ) -> None:
        """`apply` alters memory and returns the slots that the journal's `purge` then deletes. `lock` is held during a
        round. `next_turn` returns in a later turn of the loop. `wait_as_client` may raise `StoreUnavailable` to end the
        wait of a client for its turn. `on_change` is told of each change, and who has asked for it, before it is
        applied.
        """
        self._cluster = cluster
        self._apply = apply
        self._purge = purge
        self._lock = lock
        self._new_event = new_event
        self._work = work
        self._next_turn = next_turn
        self._wait_as_client = wait_as_client
        self._on_change = on_change
        self._of_clients: FairQueue[_Request] = FairQueue()
        self._maintenance: FairQueue[_Request] = FairQueue()
        self._is_busy = False
        self._under_way = Footprint()
        self._is_committing = False

    async def change(self, decide: Callable[[], Decision[T]], client: Hashable = None) -> T:
        """Make a change that `client` asked for, and return its result; every living node has applied it then
        (invariant I71).

        `decide` is called when nothing it depends on is under way, and again if other nodes recorded first.
        """
        [result] = await self._done([decide], _Call(client, self._of_clients), self._wait_as_client, is_certain=True)
        return result  # type: ignore[no-any-return]

    async def maintain(self, decides: Iterable[Callable[[], Decision[Any]]], client: Hashable = None) -> None:
        """Make changes that no client waits for and that must not fail."""
        await self._done(decides, _Call(client, self._maintenance), _wait, is_certain=False)

    async def _done(
        self,
        decides: Iterable[Callable[[], Decision[Any]]],
        call: _Call,
        wait: Callable[[Wakeup], Awaitable[None]],
        *,
        is_certain: bool,
    ) -> list[Any]:
        """Return the results. Other nodes apply what is recorded, even if something fails after that."""
        requests = [_Request(decide, call) for decide in decides]
        call.undone = len(requests)
        try:
            await self._begin(call, requests)
            await self._take_turns(call, wait)
            if call.to_purge:
                await self._purge(call.to_purge)
        finally:
            if call.recorded:
                await self._cluster.announce(call.recorded, is_certain=is_certain)
        for request in requests:
            if request.error is not None:
                raise request.error
        return [request.result for request in requests]

    async def _begin(self, call: _Call, requests: Sequence[_Request]) -> None:
        """Apply what nothing records, and let the other requests wait for a round. Many of them take many turns of the
        loop.
        """
        try:
            for request in requests:
                if self._work.is_over and request is not requests[0]:
                    await self._next_turn()
                if not self._is_applied_at_once(request):
                    call.queue.add(call.client, request)
        except BaseException:
            self._withdrawn(call)
            self._hand_over()
            raise

    def _is_applied_at_once(self, request: _Request) -> bool:
        """Apply a change that nothing records, unless it depends on one under way; return whether it was applied."""
        try:
            decision = request.decide()
        except Exception as error:
            if self._is_committing:  # what it has met may be about to change
                return False
            request.fail(error)
            return True
        if self._recorded_of(decision) or self._under_way.collides(decision):
            return False
        decision.begin()
        decision.end(True)
        self._finish(request, decision)
        return True

    async def _take_turns(self, call: _Call, wait: Callable[[Wakeup], Awaitable[None]]) -> None:
        """Return when all requests of `call` are done."""
        try:
            while call.undone:
                if not self._is_busy:
                    await self._do_rounds(call)
                    continue
                call.event = self._new_event()
                try:
                    await wait(call.event)
                except StoreUnavailable:
                    if call.undone and self._withdrawn(call):
                        raise
                    wait = _wait  # it is being recorded
        except BaseException:
            self._withdrawn(call)
            self._hand_over()
            raise

    def _withdrawn(self, call: _Call) -> bool:
        """Remove the requests of a call that wait; return whether there were any."""
        waiting = [request for request in call.queue if request.call is call]
        for request in waiting:
            call.queue.remove(call.client, request)
        return bool(waiting)

    async def _do_rounds(self, call: _Call) -> None:
        self._is_busy = True
        try:
            while call.undone:
                async with self._lock:
                    await self._record_round()
        finally:
            self._is_busy = False
            self._hand_over()

    def _hand_over(self) -> None:
        """Let one of those that wait do the rounds from now on."""
        if self._is_busy:
            return
        for request in chain(self._of_clients, self._maintenance):
            request.call.wake()
            return

    # A round

    async def _record_round(self) -> None:
        """Decide what waits, as far as one does not depend on the other, record it with one commit, and apply it."""
        group = self._decided()
        if not group:
            return
        for _, decision in group:
            decision.begin()
        is_recorded = False
        self._is_committing = True
        try:
            if changes := [change for _, each in group for change in self._recorded_of(each)]:
                await self._cluster.record(changes)
            is_recorded = True
        except TopologyMoved:
            self._put_back([request for request, _ in group])
        except Exception as error:
            self._on_failure([request for request, _ in group], error)
        except BaseException:
            self._put_back([request for request, _ in group])
            raise
        finally:
            self._under_way = Footprint()
            self._is_committing = False
            for _, decision in group:
                decision.end(is_recorded)
        if is_recorded:
            for request, decision in group:
                request.call.recorded = self._cluster.recorded
                self._finish(request, decision)

    def _decided(self) -> list[tuple[_Request, Decision[Any]]]:
        """Return the changes of the next round; what is refused, or changes nothing, is done."""
        for_maintenance = min(len(self._maintenance), ROUND // 2)
        taken = self._of_clients.take(ROUND - for_maintenance)
        taken += self._maintenance.take(ROUND - len(taken))
        group: list[tuple[_Request, Decision[Any]]] = []
        footprint, later = Footprint(), []
        for request in taken:
            try:
                decision = request.decide()
            except Exception as error:
                if group and not request.was_refused:  # perhaps only because the others are not applied yet
                    request.was_refused = True
                    later.append(request)
                else:
                    request.fail(error)
                continue
            if footprint.collides(decision) or (group and (request.is_single or group[0][0].is_single)):
                later.append(request)
                continue
            footprint.add(decision)
            if decision.changes:
                group.append((request, decision))
            else:
                self._finish(request, decision)
        self._put_back(later)
        self._under_way = footprint if group else Footprint()
        return group

    def _on_failure(self, requests: Sequence[_Request], error: Exception) -> None:
        """Fail what could not be recorded; of several changes, one of which may be at fault, each is tried alone."""
        if len(requests) > 1 and not isinstance(error, StoreUnavailable | Evicted):
            for request in requests:
                request.is_single = True
            self._put_back(requests)
        else:
            for request in requests:
                request.fail(error)

    def _put_back(self, requests: Sequence[_Request]) -> None:
        for request in reversed(requests):
            request.call.queue.put_back(request.call.client, request)

    def _recorded_of(self, decision: Decision[Any]) -> Sequence[Change]:
        """Return those changes that the store or other nodes must know."""
        return decision.changes if self._cluster.records_all else decision.lasting

    def _finish(self, request: _Request, decision: Decision[Any]) -> None:
        """Apply a change that is recorded, as far as it has to be."""
        try:
            self._work.done += _CHANGE_STEPS * len(decision.changes)
            for change in decision.changes:
                if self._on_change is not None:
                    self._on_change(change, request.call.client)
                request.call.to_purge += self._apply(change)
            request.result = decision.result()
        except Exception as error:
            request.fail(error)
        else:
            request.call.on_done()
