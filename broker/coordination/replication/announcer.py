"""Makes the other nodes apply an event, and finds out that they have (ADR 20).

A peer that answers a push has applied the event. One that does not answer reads it from the store within
eventSyncInterval; that it has, its cursor in the store says. A node that is starting has no cursor yet: it notes one,
and then applies what was recorded before that, before it serves clients.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final

import structlog

from broker.errors import BrokerError, StoreUnavailable
from broker.ports.cluster import SlotService
from broker.ports.cluster_rows import Cursor, EventRow, Incarnation
from broker.ports.peer_calls import Caller

_log = structlog.get_logger(__name__)

_LOOK_INTERVAL: Final = 0.1
"""Seconds between two reads of the cursors while a change waits for them."""


class Announcer:
    """Announces events to peers; a peer that is slow is skipped for a while and reads the events by itself."""

    def __init__(
        self,
        own: Incarnation,
        peers: Callable[[], Mapping[Incarnation, SlotService]],
        caller: Callable[[], Caller],
        read_cursors: Callable[[], Awaitable[Sequence[Cursor]]],
        monotonic: Callable[[], float],
        *,
        timeout: float,
        pause: float,
        apply_timeout: float,
        events_after: Callable[[int], Sequence[EventRow]] = lambda event_id: (),
        apart: Callable[[], Collection[Incarnation]] = tuple,
    ) -> None:
        """`own` is this node, `peers` are the other living ones; `read_cursors` reads which events each has applied.
        Nodes that are `apart` live by the store, and are not seen: they serve clients, and cannot be told.

        Seconds: `timeout` is how long a peer may take to answer, `pause` how long a peer that did not is skipped,
        `apply_timeout` how long an event waits for peers that do not answer, unless they cease to live before.
        `events_after` returns events of this node behind one, which are pushed themselves; none are where peers read
        them.
        """
        self._own = own
        self._peers = peers
        self._caller = caller
        self._read_cursors = read_cursors
        self._monotonic = monotonic
        self._timeout = timeout
        self._pause = pause
        self._apply_timeout = apply_timeout
        self._events_after = events_after
        self._apart = apart
        self._silent_until: dict[Incarnation, float] = {}
        self._newest = 0
        self._applied: dict[Incarnation, int] = {}
        self._turns: dict[Incarnation, asyncio.Lock] = {}
        self._reading = asyncio.Lock()
        self._cursors: Sequence[Cursor] = ()
        self._read_at = self._tried_at = float("-inf")

    async def announce(self, event_id: int, *, is_certain: bool) -> Sequence[str]:
        """Return when every peer has applied the event or failed to; one call to a peer covers several events.

        With `is_certain`, return when every node that serves clients has applied it: it has answered so, or has written
        so, or does not live any more. After `apply_timeout` those that have not are given up and logged; return their
        ids.
        """
        self._newest = max(self._newest, event_id)
        now, peers = self._monotonic(), self._peers()
        self._silent_until = {peer: until for peer, until in self._silent_until.items() if until > now}
        for known in (self._applied, self._turns):
            for peer in known.keys() - peers.keys():
                del known[peer]
        async with asyncio.TaskGroup() as pushes:
            for peer, service in peers.items():
                if peer not in self._silent_until:
                    pushes.create_task(self._push(peer, service, event_id), name=f"push events to {peer.node_id}")
        if is_certain and any(self._applied.get(peer, 0) < event_id for peer in (*peers, *self._apart())):
            async with self._reading:
                return await self._until_applied(event_id, now, now + self._apply_timeout)
        return ()

    async def _push(self, peer: Incarnation, service: SlotService, event_id: int) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                async with self._turns.setdefault(peer, asyncio.Lock()):
                    applied = self._applied.get(peer, 0)
                    if applied < event_id:
                        events = self._events_after(applied)
                        self._note(peer, await service.push_events(self._newest, self._caller(), events))
        except TimeoutError:
            self._silent_until[peer] = self._monotonic() + self._pause
            _log.debug("a node is slow to apply an event", peer=peer.node_id, event_id=event_id)
        except BrokerError as error:
            _log.debug("a node could not be told of an event", peer=peer.node_id, event_id=event_id, reason=str(error))

    def _note(self, peer: Incarnation, event_id: int) -> None:
        self._applied[peer] = max(self._applied.get(peer, 0), event_id)

    async def _until_applied(self, event_id: int, began: float, until: float) -> Sequence[str]:
        """Read cursors, not before `began`, until nobody is behind; return the ids of those that still are.

        One caller at a time reads for all that wait.
        """
        while self._read_at <= began or self._behind(event_id):
            if self._monotonic() >= until:
                others = (*self._peers(), *self._apart())
                silent = [peer.node_id for peer in others if self._applied.get(peer, 0) < event_id]
                nodes = self._behind(event_id) or silent
                _log.warning("a change of topology may not be known yet", nodes=nodes, event_id=event_id)
                return nodes
            await asyncio.sleep(max(self._tried_at + _LOOK_INTERVAL - self._monotonic(), 0.0))
            self._tried_at = asked_at = self._monotonic()
            try:
                self._cursors = await self._read_cursors()
                self._read_at = asked_at
            except StoreUnavailable as error:
                _log.debug("the store does not tell who has applied an event", reason=str(error))
        return ()

    def _behind(self, event_id: int) -> list[str]:
        """Return the ids of the nodes that were alive when the cursors were read and had not applied the event."""
        others = (cursor for cursor in self._cursors if cursor.incarnation != self._own)
        return [
            cursor.incarnation.node_id
            for cursor in others
            if max(cursor.event_id, self._applied.get(cursor.incarnation, 0)) < event_id
        ]
