"""Replicates topology between nodes: this node's changes become events, and other nodes' events are applied here.

An event is recorded only as the successor of the last one applied here, so a node decides knowing every earlier change
(ADR 20). The cursor advances with every applied event, and never past one that was not
applied. Nothing about topology is decided here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Final

import structlog

from broker.backoff import Backoff
from broker.coordination.replication.announcer import Announcer
from broker.coordination.replication.event_codec import Call, Purge, Wanted, decode, encode, encode_call, takes_messages
from broker.coordination.replication.pushed_events import PushedEvents
from broker.errors import BrokerError, StoreUnavailable
from broker.machine.faults import MachineFaults
from broker.ports.cluster import EventStore, SlotService, TopologyMoved
from broker.ports.cluster_rows import Cursor, EventPage, EventRow, Incarnation
from broker.ports.peer_calls import Caller, Unavailable
from broker.ports.records import Change, Topology
from broker.ports.slot import Slot
from broker.store.retrying import Retry
from broker.topology.apply import LiveTopology
from broker.topology.diff import changes_between

_log = structlog.get_logger(__name__)

_PAGE: Final = 500
_TRIES: Final = 3
_KEPT_EVENTS: Final = 10_000
_NOTE_INTERVAL: Final = 1.0
_UNASKED: Final = 10
"""Intervals between two reads of the event store for no other reason, where events are pushed."""
_HASH_SHARE: Final = 50
"""Hashing the topology takes at most one part in this many of the time."""


class Replicator:
    """Records, applies and announces events; the recorder of every virtual host of this incarnation."""

    def __init__(
        self,
        events: EventStore,
        incarnation: Incarnation,
        *,
        topology: LiveTopology,
        lock: asyncio.Lock,
        on_applied: Callable[[], None],
        purge: Callable[[Sequence[Slot]], Awaitable[None]],
        on_wanted: Callable[[int, int], None],
        peers: Callable[[], Mapping[Incarnation, SlotService]],
        caller: Callable[[], Caller],
        interval: float,
        new_token: Callable[[], str],
        is_cut_off: Callable[[], bool] | None = None,
        apart: Callable[[], Collection[Incarnation]] = tuple,
        is_trusted: Callable[[], bool] = lambda: True,
        push_timeout: float = 1.0,
        apply_timeout: float = 15.0,
        retry: Retry | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`lock` is held during a change of topology, whether this node or another decided it.

        `on_applied` is called after other nodes' changes were applied: queues may dispatch, confirms may go out.
        `purge` is the journal's. `on_wanted` is called with the id of a queue and how many of its messages another node
        asks for. `peers` returns the other living nodes that this one sees, `apart` those that it does not. Seconds:
        `interval` between two reads of the event store, `push_timeout` for peers to answer that they have applied an
        event, `apply_timeout` for those that do not answer to apply it. With `is_cut_off` events are pushed themselves,
        and the event store is read only when some were missed, or may be: while a living node does not reach this one,
        or is not reached. What takes messages away waits while this node is not trusted: it may have been evicted.
        """
        self._events = events
        self._incarnation = incarnation
        self._topology = topology
        self._on_applied = on_applied
        self._purge = purge
        self._on_wanted = on_wanted
        self._interval = interval
        self._new_token = new_token
        self._retry = retry or Retry("topology waits for the store", Backoff(0.1, 1.0))
        self._monotonic = monotonic
        pushed = PushedEvents()
        self._announcer = Announcer(
            incarnation,
            peers,
            caller,
            events.cursors,
            monotonic,
            timeout=push_timeout,
            pause=interval,
            apply_timeout=apply_timeout,
            events_after=pushed.after,
            apart=apart,
        )
        self._lock = lock
        self._is_cut_off = is_cut_off
        self._is_trusted = is_trusted
        self._pushed = pushed
        self._heard = 0
        self._read_at = float("-inf")
        self._compared: Cursor | None = None
        self.applied = 0
        self.recorded = 0
        """The id of the last event that this node recorded."""
        self._purged = 0  # the last event that has purged a queue here, as far as is known
        self._slots: list[Slot] = []  # to be purged
        self._noted: Cursor | None = None
        self._note_at = float("-inf")
        self._doubted = -1

    # Start

    async def load(self) -> Topology:
        """Return the recorded topology, with which this node starts."""
        topology, self.applied = await self._retry.until_done(self._events.load)
        self._purged = self.applied  # there may have been purges among what came before
        return topology

    async def show(self) -> None:
        """Note this node's cursor, so that others wait for it from now on when they change topology."""
        await self._retry.until_done(lambda: self._events.note_cursor(self._incarnation, self.applied, ""))

    async def catch_up(self) -> None:
        """Apply everything that is recorded."""
        async with self._lock:
            await self._retry.until_done(self._catch_up)

    # Record

    async def record(self, changes: Sequence[Change]) -> None:
        """Record `changes` as the next event; the caller holds the lock and applies them at once.

        Raises `TopologyMoved` when other nodes recorded first; their events are applied then.
        """
        await self._record(changes, encode(changes))

    async def tell(self, call: Call) -> Sequence[str]:
        """Carry a call to every other node; return when they have begun to answer it, as `announce` does, with the ids
        of living ones that have not.
        """
        event_id = 0
        while not event_id:
            async with self._lock:
                with suppress(TopologyMoved):
                    await self._record((), encode_call(call))
                    event_id = self.recorded
        return await self._announcer.announce(event_id, is_certain=True)

    async def _record(self, changes: Sequence[Change], payload: bytes) -> None:
        token = self._new_token()
        is_recorded = await self._retry.until_done(
            lambda: self._events.record(
                changes, payload, expected=self.applied, token=token, incarnation=self._incarnation
            )
        )
        if not is_recorded:
            await self._retry.until_done(self._catch_up)
            raise TopologyMoved("other nodes have changed the topology")
        self.applied += 1
        self.recorded = self.applied
        if self._is_cut_off is not None:
            self._pushed.add(EventRow(self.applied, self._incarnation, payload))

    def check_purge(self, last_event_id: int | None) -> None:
        """Another node that had applied this event asks for a purge; older ones do not say which. Raises `Unavailable`
        if one has come by a later event: this one may be the same, late, and clients may have published since. So they
        may if this node may have been evicted: who asked does not wait for it then.
        """
        if not self._is_trusted():
            raise Unavailable("this node may have been evicted")
        if last_event_id is not None and last_event_id < self._purged:
            raise Unavailable("a purge that came by an event has overtaken this one")

    async def announce(self, event_id: int, *, is_certain: bool) -> None:
        """Have all living peers apply events up to this one; as `Cluster.announce`."""
        await self._announcer.announce(event_id, is_certain=is_certain)

    # Apply

    async def push_events(self, last_event_id: int, events: Sequence[EventRow] = ()) -> int:
        """Apply events up to this id; return the id of the last one applied. Concurrent callers share the work.

        `events` are applied as they are if they follow what was applied before; otherwise the store is read. Raises
        `Unavailable` when it does not return the events.
        """
        if self.applied < last_event_id:
            async with self._lock:
                await self._apply_pushed(events)
                if self.applied < last_event_id:
                    try:
                        await self._catch_up()
                    except StoreUnavailable as error:
                        raise Unavailable(f"the store does not tell of topology: {error}") from error
        return self.applied

    def on_contact(self, last_event_id: int) -> None:
        """A peer has applied events up to this one: what this node does not have it has missed."""
        self._heard = max(self._heard, last_event_id)

    async def _apply_pushed(self, events: Sequence[EventRow]) -> None:
        """Apply those of `events` that follow what was applied; the caller holds the lock."""
        before = self.applied
        for event in events:
            if self._must_wait(event) or (event.event_id == self.applied + 1 and not self._is_applied(event)):
                break
        if self.applied != before:
            await self._finish()

    async def run(self) -> None:
        """Read new events in every interval, even if no peer announces any, and compare topologies."""
        faults = MachineFaults("topology")
        while True:
            with faults:
                try:
                    await self.look()
                except StoreUnavailable as error:
                    _log.debug("the store does not tell of topology", reason=str(error))
            await asyncio.sleep(self._interval)

    async def look(self) -> None:
        """Apply other nodes' events, record this node's cursor, and reload everything if another node's topology
        differs.
        """
        if self._may_have_missed():
            page = await self._events.events(self.applied, 1)
            if page.last > self.applied:
                async with self._lock:
                    await self._catch_up()
        cursor = await self._note()
        if cursor is not None and await self._is_doubtful(cursor):
            _log.error("topology differs from that of another node", event_id=cursor.event_id)
            self._doubted = cursor.event_id
            async with self._lock:
                await self._reload()
            self._note_at = float("-inf")
            self._noted = None

    def _may_have_missed(self) -> bool:
        """Is the event store to be read? Where events are pushed, only for a reason, and sometimes without one."""
        now = self._monotonic()
        if self._is_cut_off is None or self._is_cut_off() or self._heard > self.applied:
            return True
        if now < self._read_at + _UNASKED * self._interval:
            return False
        self._read_at = now
        return True

    async def housekeep(self) -> int:
        """Delete all but the last events; the coordinator calls this."""
        return await self._events.prune(_KEPT_EVENTS)

    async def _catch_up(self) -> None:
        """Apply all new events; the caller holds the lock."""
        while True:
            page = await self._events.events(self.applied, _PAGE)
            if any(map(self._must_wait, page.events)):
                raise StoreUnavailable("what takes messages away waits until this node is trusted again")
            if self._is_missing_some(page) or not all(map(self._is_applied, page.events)):
                await self._reload()
            else:
                await self._finish()
            if self.applied >= page.last:
                break

    def _is_missing_some(self, page: EventPage) -> bool:
        return page.last > self.applied and (not page.events or page.events[0].event_id != self.applied + 1)

    def _must_wait(self, event: EventRow) -> bool:
        """Does the event take messages away, and may this node have been evicted? Then its answer may be given already,
        and what it took here could have been published later: it would be confirmed as purged, and nobody get it.
        """
        return not self._is_trusted() and takes_messages(event.payload)

    def _is_applied(self, event: EventRow) -> bool:
        """Apply an event and advance the cursor; return False when every attempt fails."""
        for attempt in range(1, _TRIES + 1):
            try:
                for change in decode(event.payload):
                    if isinstance(change, Purge):
                        self._purged = event.event_id
                        self._slots += self._topology.purge(change.queue_id)
                    elif isinstance(change, Wanted):
                        self._on_wanted(change.queue_id, change.messages)
                    else:
                        self._slots += self._topology.apply(change)
            except Exception:
                _log.exception("an event of topology could not be applied", event_id=event.event_id, attempt=attempt)
            else:
                self.applied = event.event_id
                return True
        return False

    async def _reload(self) -> None:
        """Load the topology from the store and make memory equal to it; the caller holds the lock."""
        topology, last = await self._events.load()
        changes = list(changes_between(self._topology.snapshot(), topology))
        for change in changes:
            try:
                self._slots += self._topology.apply(change)
            except BrokerError as error:
                _log.error("topology in the store does not fit together", what=str(error))
        self.applied = self._purged = last  # there may have been purges among what was missed
        _log.warning("topology was loaded anew", event_id=last, changes=len(changes))
        await self._finish()

    async def _finish(self) -> None:
        for complaint in self._topology.take_complaints():
            _log.warning("topology of another node makes no sense here", what=complaint)
        self._on_applied()
        slots, self._slots = self._slots, []
        if slots:
            await self._purge(slots)

    # Compare

    async def _note(self) -> Cursor | None:
        """Record this node's cursor when it has moved, for those that wait for it, and not too often its hash too.

        Return the cursor while it is current and has its hash.
        """
        noted, now = self._noted, self._monotonic()
        is_current = noted is not None and noted.event_id == self.applied
        if not is_current or (now >= self._note_at and not (noted and noted.topology_hash)):
            found = ""
            if now >= self._note_at:
                found = await self._hash()
                self._note_at = now + max(_NOTE_INTERVAL, _HASH_SHARE * (self._monotonic() - now))
            noted = Cursor(self._incarnation, self.applied, found)
            await self._events.note_cursor(self._incarnation, noted.event_id, noted.topology_hash)
            self._noted = noted
        return noted if noted and noted.topology_hash and noted.event_id == self.applied else None

    async def _hash(self) -> str:
        """Return the hash of the topology in memory; an empty text when that has changed while it was hashed.

        A large topology takes seconds, in which clients are served: others run between two steps.
        """
        last_applied = self.applied
        with suppress(RuntimeError):  # an event that was applied in part has changed what is iterated over
            for found in self._topology.hashing():
                if found:
                    return found
                await asyncio.sleep(0)
                if self.applied != last_applied:
                    break
        return ""

    async def _is_doubtful(self, own: Cursor) -> bool:
        """Does another node have a different topology after the same event? True only once for an event."""
        if own.event_id == self._doubted or (self._is_cut_off is not None and own == self._compared):
            return False
        self._compared = own
        cursors = await self._events.cursors()
        return any(
            each.event_id == own.event_id and each.topology_hash not in ("", own.topology_hash) for each in cursors
        )
