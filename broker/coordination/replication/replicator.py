"""Topology as all nodes of a cluster have it: this node's changes become events, and those of others become its own.

An event is recorded only as the one that follows the last that was applied here, so whoever decides has seen all that
was decided before (design §5, reliability.md §3.10). The cursor moves with every event that was applied, and never past
one that was not. Knows the event store, the virtual hosts and the peers; decides nothing about topology.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import structlog

from broker.backoff import Backoff
from broker.coordination.replication.event_codec import decode, encode
from broker.errors import BrokerError, StoreUnavailable
from broker.ports.cluster import EventStore, SlotService, TopologyMoved
from broker.ports.cluster_rows import Cursor, EventPage, EventRow, Incarnation
from broker.ports.peer_calls import Caller, Unavailable
from broker.ports.records import Change, Topology
from broker.ports.slot import Slot
from broker.store.retrying import Retry
from broker.topology.apply import LiveTopology
from broker.topology.diff import changes_between, topology_hash

_log = structlog.get_logger(__name__)

_PAGE: Final = 500
_TRIES: Final = 3
_KEPT_EVENTS: Final = 10_000
_NOTE_INTERVAL: Final = 1.0
_HASH_SHARE: Final = 50
"""At most one part in so many of the time goes into hashing the topology."""


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
        peers: Callable[[], Mapping[str, SlotService]],
        caller: Callable[[], Caller],
        interval: float,
        new_token: Callable[[], str],
        push_timeout: float = 1.0,
        retry: Retry | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`lock` is held while the topology changes, by this node or by others. `on_applied` is called after changes of
        others were applied: queues may dispatch, confirms may go out.

        `purge` is the journal's. `peers` are the other living nodes. Seconds: `interval` between two looks at the event
        store, `push_timeout` for peers to answer that they have applied an event.
        """
        self._events = events
        self._incarnation = incarnation
        self._topology = topology
        self._on_applied = on_applied
        self._purge = purge
        self._interval = interval
        self._new_token = new_token
        self._retry = retry or Retry("topology waits for the store", Backoff(0.1, 1.0))
        self._monotonic = monotonic
        self._announcer = Announcer(peers, caller, push_timeout, interval, monotonic)
        self._lock = lock
        self.applied = 0
        self.recorded = 0
        """The last event of this node."""
        self._slots: list[Slot] = []  # to be purged
        self._noted: Cursor | None = None
        self._note_at = float("-inf")
        self._doubted = -1

    # Record

    async def load(self) -> Topology:
        """Return all that is recorded: what this node begins with."""
        topology, self.applied = await self._retry.until_done(self._events.load)
        return topology

    async def record(self, changes: Sequence[Change]) -> None:
        """Record `changes` as the next event, whose time it is to be applied when this returns; the lock is held.

        Raises `TopologyMoved` when others came first: their events have been applied then.
        """
        token, payload = self._new_token(), encode(changes)
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

    async def announce(self, event_id: int) -> None:
        """Let all living peers apply events up to this one before anybody relies on it, as far as they answer."""
        await self._announcer.announce(event_id)

    # Apply

    async def push_events(self, last_event_id: int) -> int:
        """Apply events up to this id if they are not yet; return the last one that is. Those who wait share the work.

        Raises `Unavailable` when the store does not tell what happened.
        """
        if self.applied < last_event_id:
            async with self._lock:
                if self.applied < last_event_id:
                    try:
                        await self._catch_up()
                    except StoreUnavailable as error:
                        raise Unavailable(f"the store does not tell of topology: {error}") from error
        return self.applied

    async def run(self) -> None:
        """Look for events in every interval, whatever peers say, and compare topologies."""
        while True:
            try:
                await self.look()
            except StoreUnavailable as error:
                _log.debug("the store does not tell of topology", reason=str(error))
            await asyncio.sleep(self._interval)

    async def look(self) -> None:
        """Apply what others have recorded; tell how far this node is; load all anew if another one differs."""
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

    async def housekeep(self) -> int:
        """Delete events that nobody needs any more; the coordinator's business."""
        return await self._events.prune(_KEPT_EVENTS)

    async def _catch_up(self) -> None:
        """Apply all events there are; the lock is held."""
        while True:
            page = await self._events.events(self.applied, _PAGE)
            if self._is_missing_some(page) or not all(map(self._is_applied, page.events)):
                await self._reload()
            else:
                await self._finish()
            if self.applied >= page.last:
                break

    def _is_missing_some(self, page: EventPage) -> bool:
        return page.last > self.applied and (not page.events or page.events[0].event_id != self.applied + 1)

    def _is_applied(self, event: EventRow) -> bool:
        """Apply an event, and move the cursor; False when that fails again and again."""
        for attempt in range(1, _TRIES + 1):
            try:
                for change in decode(event.payload):
                    self._slots += self._topology.apply(change)
            except Exception:
                _log.exception("an event of topology could not be applied", event_id=event.event_id, attempt=attempt)
            else:
                self.applied = event.event_id
                return True
        return False

    async def _reload(self) -> None:
        """Make memory what the store says; the lock is held."""
        topology, last = await self._events.load()
        changes = list(changes_between(self._topology.snapshot(), topology))
        for change in changes:
            try:
                self._slots += self._topology.apply(change)
            except BrokerError as error:
                _log.error("topology in the store does not fit together", what=str(error))
        self.applied = last
        _log.warning("topology was loaded anew", event_id=last, changes=len(changes))
        await self._finish()

    async def _finish(self) -> None:
        self._on_applied()
        slots, self._slots = self._slots, []
        if slots:
            await self._purge(slots)

    # Compare

    async def _note(self) -> Cursor | None:
        """Tell how far this node is, not too often; return the cursor if it is still true."""
        now = self._monotonic()
        if (self._noted is None or self._noted.event_id != self.applied) and now >= self._note_at:
            cursor = Cursor(self._incarnation, self.applied, topology_hash(self._topology.snapshot()))
            self._note_at = now + max(_NOTE_INTERVAL, _HASH_SHARE * (self._monotonic() - now))
            await self._events.note_cursor(self._incarnation, cursor.event_id, cursor.topology_hash)
            self._noted = cursor
        return self._noted if self._noted is not None and self._noted.event_id == self.applied else None

    async def _is_doubtful(self, own: Cursor) -> bool:
        """Has another node another topology after the same event? The same event is doubted once."""
        if own.event_id == self._doubted:
            return False
        cursors = await self._events.cursors()
        return any(each.event_id == own.event_id and each.topology_hash != own.topology_hash for each in cursors)


class Announcer:
    """Tells peers of events; one that is slow is left to find out by itself for a while."""

    def __init__(
        self,
        peers: Callable[[], Mapping[str, SlotService]],
        caller: Callable[[], Caller],
        timeout: float,
        pause: float,
        monotonic: Callable[[], float],
    ) -> None:
        """`timeout` is how long a peer has to answer, `pause` how long one that did not is left alone."""
        self._peers = peers
        self._caller = caller
        self._timeout = timeout
        self._pause = pause
        self._monotonic = monotonic
        self._silent_until: dict[str, float] = {}
        self._newest = 0
        self._applied: dict[
            str, int
        ] = {}  # by peer; a later incarnation of it has loaded what an earlier one had applied
        self._turns: dict[str, asyncio.Lock] = {}

    async def announce(self, event_id: int) -> None:
        """Return when every peer has applied the event, or has failed to. One call tells a peer of several events."""
        self._newest = max(self._newest, event_id)
        now = self._monotonic()
        self._silent_until = {peer: until for peer, until in self._silent_until.items() if until > now}
        peers = {peer: service for peer, service in self._peers().items() if peer not in self._silent_until}
        async with asyncio.TaskGroup() as pushes:
            for peer, service in peers.items():
                pushes.create_task(self._push(peer, service, event_id), name=f"push events to {peer}")

    async def _push(self, peer: str, service: SlotService, event_id: int) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                async with self._turns.setdefault(peer, asyncio.Lock()):
                    if self._applied.get(peer, 0) < event_id:
                        self._applied[peer] = await service.push_events(self._newest, self._caller())
        except TimeoutError:
            self._silent_until[peer] = self._monotonic() + self._pause
            _log.debug("a node is slow to apply an event", peer=peer, event_id=event_id)
        except BrokerError as error:
            _log.debug("a node could not be told of an event", peer=peer, event_id=event_id, reason=str(error))
