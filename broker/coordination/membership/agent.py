"""A node's membership of the cluster: the agent renews this node's row, reads the others' and runs for coordinator.

The agent carries the requests of `OwnRow`, `Election` and `Members` to the store and brings back the answers; the
decisions are theirs. All requests share one connection, so the agent makes one at a time. This node's beat comes before
all others: a slow answer to another request must not cost this node its incarnation (ADR 16).
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from math import inf
from typing import Any

import structlog

from broker.clock import Clock
from broker.coordination.membership.beat_thread import BeatThread
from broker.coordination.membership.coordinator_address import CoordinatorAddress, FencedAddress
from broker.coordination.membership.deputy import Deputy
from broker.coordination.membership.election import Action, Election, ReadLease, Role
from broker.coordination.membership.events import Listener, MembershipEvents
from broker.coordination.membership.members import Members, changes
from broker.coordination.membership.own_row import OwnRow
from broker.coordination.membership.pending_request import timeout_of
from broker.coordination.membership.requests import Requests
from broker.coordination.membership.row_keeper import Answers, RowKeeper
from broker.coordination.membership.view import MembershipView, StoreView
from broker.coordination.membership.waiting import until
from broker.errors import BrokerError, Evicted, StoreUnavailable
from broker.ports.cluster import ClusterStore
from broker.ports.cluster_rows import Claim, Incarnation, NodeRow, Resign
from broker.ports.peer_calls import Fence

_log = structlog.get_logger(__name__)


def new_id() -> str:
    """Return an id that was never used before."""
    return uuid.uuid4().hex


class ClusterAgent:
    """Keeps one incarnation of this node in its cluster.

    Call `register` first, then `run`, which returns after `leave` or raises when the incarnation ends.
    """

    def __init__(
        self,
        store: ClusterStore,
        clock: Clock,
        *,
        node_id: str,
        address: tuple[str, int],
        heartbeat_interval: float,
        creation_wait: float,
        polling_interval: float,
        coordinator_address: Callable[[], Awaitable[FencedAddress | None]],
        listener: Listener,
        new_id: Callable[[], str] = new_id,
        jitter: Callable[[], float] = random.random,
        connect_beats: Callable[[], AbstractAsyncContextManager[ClusterStore]] | None = None,
        answers: Answers | None = None,
        terms: str = "",
    ) -> None:
        """The times are heartbeatInterval, coordinatorEntryCreationWaitTime and eventPollingInterval in seconds.

        `address` is where the other nodes reach this one; `coordinator_address` reads the coordinator's address from
        the store (`MemberStore.coordinator_address`). `connect_beats` is for a `BeatThread`; without it there is none.
        `answers` returns whether the incarnation of a row answers at the row's address.
        `terms` are what all nodes must agree about, in words.
        """
        self.node_id = node_id
        self.address = address
        self.incarnation: Incarnation | None = None
        self.living: frozenset[Incarnation] = frozenset()
        """The incarnations of all nodes that live by the store, this one among them."""
        self.apart: frozenset[Incarnation] = frozenset()
        """Those of them that are not members: they live, and this node does not see them."""
        self.view: MembershipView = StoreView()
        """Whom of those that live this node sees; set before `run`."""
        self.may_lead = True
        """May this node coordinate? A coordinator that may not any more resigns."""
        self._members_told: Mapping[str, NodeRow] = {}
        self._living_told: frozenset[Incarnation] = frozenset()
        self._store = store
        self._clock = clock
        self._heartbeat_interval = heartbeat_interval
        self._request_timeout = timeout_of(heartbeat_interval)
        self._polling_interval = polling_interval
        self._read_address = coordinator_address
        self._events = MembershipEvents(node_id, listener)
        self._connect_beats = connect_beats
        self._deputy = Deputy(heartbeat_interval)
        self._own_row = OwnRow(node_id, heartbeat_interval, new_id, jitter)
        self._requests = Requests(node_id, clock)
        self._election = Election(heartbeat_interval, creation_wait, new_id, jitter)
        self._members = Members(node_id, heartbeat_interval)
        self._row = RowKeeper(
            self._own_row,
            store,
            self._requests,
            clock,
            node_id=node_id,
            address=address,
            heartbeat_interval=heartbeat_interval,
            terms=terms,
            answers=answers,
            on_beat=self._deputy.on_own_beat,
            on_failed=self._members.on_store_failed,
        )
        self._coordinator_address = CoordinatorAddress(node_id, 0.2 * heartbeat_interval)
        self._look_due = -inf
        self._has_looked = False
        self._hint_due = inf
        self._hint_heeded = -inf
        self._evictions_asked: set[NodeRow] = set()
        self._is_leaving = False
        self._driven = asyncio.Event()
        self._noticed = asyncio.Event()

    @property
    def members(self) -> Mapping[str, NodeRow]:
        """The other nodes that live, as far as this one sees them, by id."""
        return self._members_told

    @property
    def size(self) -> int:
        """How many living nodes this one sees, itself among them."""
        return 1 + len(self._members_told) if self.is_trusted() or not self.view.needs_store else 1

    @property
    def rows(self) -> Mapping[str, NodeRow]:
        """The rows of the other nodes that live by the store, whether this node sees them or not, by id."""
        return self._members.members

    def last_beats(self) -> Mapping[str, float]:
        """Return when the last beat of each member was first seen (monotonic), by node id."""
        return self._members.last_beats()

    @property
    def coordinator(self) -> FencedAddress | None:
        """The coordinator's host, port and fence; None while this node does not know them."""
        return self._coordinator_address.address

    @property
    def known_fence(self) -> Fence:
        """The fence of the last coordinator this node has seen; epoch 0 when it has seen none yet."""
        return self._coordinator_address.fence

    @property
    def fence(self) -> Fence | None:
        """This node's fence while it is the coordinator; None while it is not."""
        election = self._election
        if election.epoch is None or election.role(self._clock.monotonic()) is not Role.COORDINATOR:
            return None
        return Fence(election.epoch, election.term)

    def is_trusted(self) -> bool:
        """Return whether no other node can have evicted this one yet. Nothing is delivered without trust. Hot."""
        now = self._clock.monotonic()
        return now < self._own_row.trusted_until or self._deputy.is_trusted(now)

    def on_hint(self) -> None:
        """Read the lease and the nodes soon: another node says that the coordinator or the members have changed."""
        now = self._clock.monotonic()
        self._hint_due = min(self._hint_due, max(now, self._hint_heeded + 0.02 * self._heartbeat_interval))
        self._driven.set()

    def on_view(self) -> None:
        """This node sees others than before, or it may be its turn to coordinate."""
        self._tell_members()
        if self.may_lead and not self._election.may_claim and self.view.is_nominated(self.living):
            self._election.on_hint(self._clock.monotonic())
        self._driven.set()

    def on_fenced(self, term: str) -> None:
        """Give up the role of coordinator: the fence refused a write that carried `term`."""
        now = self._clock.monotonic()
        self._election.on_fenced(term, now)
        self._notice(now)
        self._driven.set()

    async def register(self) -> Incarnation:
        """Return when this node's row is UP in a new incarnation; raises `DuplicateNodeId` and `TermsDiffer`."""
        await self._row.register()
        self.incarnation = Incarnation(self.node_id, self._own_row.incarnation)
        self.living = frozenset((self.incarnation,))
        _log.info("registered in the cluster", node=self.node_id, incarnation=self.incarnation.id)
        return self.incarnation

    async def run(self) -> None:
        """Keep this incarnation alive and take part in the cluster until `leave`.

        Raises `Evicted` when the coordinator has ended this incarnation.
        """
        assert self.incarnation is not None, "register comes first"
        ended: BrokerError | None = None
        async with asyncio.TaskGroup() as tasks:
            others = [tasks.create_task(self._watch(), name="trust and power")]
            if self._connect_beats is not None:
                thread = BeatThread(
                    self._deputy, self._clock, self._connect_beats, self.incarnation, self._heartbeat_interval
                )
                others.append(tasks.create_task(thread.run(), name="beats"))
            try:
                await self._drive(self.incarnation)
            except BrokerError as error:
                ended = error
            self._deputy.end()
            for task in others:
                task.cancel()
        if ended is not None:
            await self._resign(self._election.stop())
            raise ended

    async def leave(self) -> Fence | None:
        """Leave the cluster; `run` returns, and a request under way is given up.

        Returns the fence that this node has resigned; None when it was not the coordinator.
        """
        self._is_leaving = True
        self._requests.give_up()
        self._driven.set()
        fence = await self._resign(self._election.stop())
        leave = self._own_row.stop()
        self._deputy.end()
        self._notice(self._clock.monotonic())
        await self._row.tell(leave)
        return fence

    async def _resign(self, resign: Resign | None) -> Fence | None:
        self._notice(self._clock.monotonic())
        if resign is None:
            return None
        await self._requests.briefly(self._store.resign(resign, self.node_id))
        return Fence(resign.epoch, resign.term)

    # Requests to the store, one at a time

    async def _drive(self, incarnation: Incarnation) -> None:
        while not self._is_leaving:
            self._driven.clear()
            now = self._clock.monotonic()
            if await self._ask_next(now):
                self._notice(self._clock.monotonic())
                self._noticed.set()
            else:
                await until(self._clock, self._next_deadline(), self._driven)
            if self._own_row.incarnation != incarnation.id:
                _log.warning(
                    "Node was evicted: its incarnation is over", node=incarnation.node_id, incarnation=incarnation.id
                )
                raise Evicted(f"node '{incarnation.node_id}' was evicted: its incarnation {incarnation.id} is over")

    async def _ask_next(self, now: float) -> bool:
        """Make the request that is due; the beat comes before all others. Return whether one was due."""
        self._heed_hint(now)
        to_evict = self._next_to_evict(now)
        others_due = min(self._election.next_deadline(), self._look_at(), self._coordinator_address.due)
        if to_evict is not None or now >= others_due:
            self._own_row.hasten(now + self._request_timeout, now)
        if (step := self._own_row.next_action(now)) is not None:
            await self._row.take(step)
        elif self._look_due == -inf:
            # A node that becomes the coordinator must know the members by then.
            await self._look_around(now)
        elif not self.may_lead and self._election.epoch is not None:
            await self._resign(self._election.step_aside(now))
        elif (action := self._next_of_election(now)) is not None:
            await self._campaign(action)
        elif now >= self._look_at():
            await self._look_around(now)
        elif to_evict is not None:
            await self._evict(to_evict)
        elif now >= self._coordinator_address.due:
            await self._find_coordinator(now)
        else:
            return False
        return True

    def _next_of_election(self, now: float) -> Action | None:
        self._election.may_claim = self.may_lead and self.view.is_nominated(self.living)
        return self._election.next_action(now)

    def _next_deadline(self) -> float:
        own = min(self._own_row.next_deadline(), self._election.next_deadline())
        return min(own, self._look_at(), self._coordinator_address.due, self._hint_due)

    def _look_at(self) -> float:
        return min(self._look_due, self._members.next_deadline())

    def _heed_hint(self, now: float) -> None:
        if now >= self._hint_due:
            self._hint_due, self._hint_heeded = inf, now
            self._election.on_hint(now)
            self._look_due = now

    async def _campaign(self, action: Action) -> None:
        """Do one action of the election and report the answer to it."""
        election, asked_at = self._election, action.asked_at
        call: Any
        if isinstance(action, ReadLease):
            call = self._store.read_lease()
        elif isinstance(action, Claim):
            call = self._store.claim(action, self.node_id, *self.address)
        else:
            call = self._store.renew(action, self.node_id)
        try:
            answer = await self._requests.answer(call, action.until)
        except StoreUnavailable:
            election.on_failed(asked_at=asked_at, now=self._clock.monotonic())
            return
        now = self._clock.monotonic()
        if isinstance(action, ReadLease):
            election.on_lease(answer, asked_at=asked_at, now=now)
        elif answer:
            election.on_granted(asked_at=asked_at, now=now)
        else:
            election.on_refused(asked_at=asked_at, now=now)
        self._follow(now)

    async def _look_around(self, asked_at: float) -> None:
        """Read the rows of all nodes."""
        self._look_due = asked_at + self._polling_interval
        try:
            rows = await self._requests.answer(self._store.nodes(), asked_at + self._request_timeout)
        except StoreUnavailable:
            self._members.on_store_failed()
            return
        self._evictions_asked.clear()
        if self._members.on_nodes(rows, asked_at=asked_at, now=self._clock.monotonic()):
            own = (self.incarnation,) if self.incarnation is not None else ()
            self.living = frozenset((*own, *map(_incarnation, self._members.members.values())))
        self._has_looked = True
        self._tell_members()

    def _tell_members(self) -> None:
        """Tell whom this node sees of those that live by the store."""
        if not self._has_looked:
            return
        rows, before = self._members.members, self._members_told
        seen = {node_id: row for node_id, row in rows.items() if self.view.includes(_incarnation(row))}
        self.apart = frozenset(_incarnation(row) for node_id, row in rows.items() if node_id not in seen)
        self._members_told = seen
        has_changed, self._living_told = self.living != self._living_told, self.living
        self._events.members(changes(before, seen), seen, has_changed=has_changed)

    # The coordinator: this node, or another one

    def _next_to_evict(self, now: float) -> NodeRow | None:
        if self._election.role(now) is not Role.COORDINATOR:
            return None
        return next((row for row in self._members.evictable() if row not in self._evictions_asked), None)

    async def _evict(self, row: NodeRow) -> None:
        self._evictions_asked.add(row)
        epoch, term = self._election.epoch, self._election.term
        assert epoch is not None
        silence = f"{2 * self._heartbeat_interval:g} s"
        _log.warning("Member is silent: evicting it", member=row.node_id, incarnation=row.incarnation, silence=silence)
        deadline = min(self._clock.monotonic() + self._request_timeout, self._election.trusted_until)
        try:
            is_passed = await self._requests.answer(self._store.evict(row, epoch, term), deadline)
        except StoreUnavailable:
            return
        if not is_passed:
            self.on_fenced(term)
        self._look_due = self._clock.monotonic()

    def _follow(self, now: float) -> None:
        """Note the coordinator that the election has seen."""
        election = self._election
        if election.epoch is not None:
            self._coordinator_address.on_own_power((*self.address, Fence(election.epoch, election.term)))
        elif (holder := self._coordinator_address.on_lease(election.lease, now)) is not None:
            self._events.coordinator(holder, self._coordinator_address.fence.epoch)

    async def _find_coordinator(self, now: float) -> None:
        self._coordinator_address.on_asked(now)
        with suppress(StoreUnavailable):
            found = await self._requests.answer(self._read_address(), now + self._request_timeout)
            if not self._coordinator_address.on_address(found):
                self.on_hint()

    # Trust and power begin and end by time, without an answer of the store

    async def _watch(self) -> None:
        while True:
            self._noticed.clear()
            now = self._clock.monotonic()
            self._notice(now)
            await until(self._clock, self._next_change(now), self._noticed)

    def _next_change(self, now: float) -> float:
        election = self._election
        trust = max(self._own_row.trusted_until, self._deputy.trusted_until)
        moments = (trust, election.power_from, election.trusted_until)
        return min((moment for moment in moments if moment > now), default=inf)

    def _notice(self, now: float) -> None:
        """Tell the listener when trust or power has begun or ended."""
        own_row = self._own_row
        is_evicted = self.incarnation is not None and own_row.incarnation != self.incarnation.id
        is_trusted = own_row.is_trusted(now) or self._deputy.is_trusted(now)
        self._events.trust(is_trusted, is_over=is_evicted or self._is_leaving)
        self._events.power(self.fence)


def _incarnation(row: NodeRow) -> Incarnation:
    return Incarnation(row.node_id, row.incarnation)
