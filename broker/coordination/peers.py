"""The other nodes as services to call: one client for each living member, and one for the coordinator."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from broker.clock import Clock
from broker.coordination.membership.agent import ClusterAgent
from broker.coordination.membership.coordinator_address import FencedAddress
from broker.errors import CoordinationError
from broker.ports.cluster import SlotService
from broker.ports.cluster_rows import Incarnation, NodeRow
from broker.ports.peer_calls import Caller, Fence

if TYPE_CHECKING:
    from broker.thrift.client import SlotClient
    from broker.thrift.secret import SharedSecret

_HINT_TIMEOUT: Final = 0.5


class Peers:
    """Keeps a client for each living member; `on_members` makes and closes them as members join and leave."""

    def __init__(
        self,
        agent: ClusterAgent,
        local: SlotService,
        clock: Clock,
        *,
        pool_size: int,
        reconnect_timeout: float,
        secret: SharedSecret | None = None,
    ) -> None:
        """`local` is this node's own service; `pool_size` is thriftClientPoolSize, `reconnect_timeout`
        thriftServerReconnectTimeout in seconds.
        """
        self._agent = agent
        self._local = local
        self._clock = clock
        self._pool_size = pool_size
        self._reconnect_timeout = reconnect_timeout
        self._secret = secret
        self._clients: dict[Incarnation, SlotClient] = {}
        self._others: dict[str, SlotService] = {}
        self._leading: SlotClient | None = None
        self._led_from: FencedAddress | None = None

    def others(self) -> Mapping[str, SlotService]:
        """Return the services of the other living nodes, by id."""
        return self._others

    def everybody(self) -> Mapping[str, SlotService]:
        """Return the services of all living nodes, this one's among them, by id."""
        return {self._agent.node_id: self._local, **self._others}

    def coordinator(self) -> SlotService | None:
        """Return the coordinator's service: this node's own while it has the power; None while nobody is known.

        The same object is the same coordinator, unless its fence has changed.
        """
        agent = self._agent
        if agent.fence is not None:
            return self._local
        known = agent.coordinator
        if known is None or known[:2] == agent.address:
            # This node holds the lease, but it may not act yet or not any more.
            return None
        if self._leading is None:
            self._leading = self._client(*known[:2], agent.on_hint)
        elif known != self._led_from:
            # Not by epoch: after a fail-over that has lost commits an earlier one may be right (ADR 16).
            self._leading.move_to(*known[:2])
        self._led_from = known
        return self._leading

    def caller(self) -> Caller:
        """Return this node as the caller of a service; the client gives each call an id of its own."""
        agent = self._agent
        incarnation = agent.incarnation.id if agent.incarnation is not None else ""
        return Caller(agent.node_id, incarnation, fence=agent.known_fence)

    def on_members(self, members: Mapping[str, NodeRow]) -> None:
        """`members` are the other living nodes now: make and close clients accordingly."""
        clients: dict[Incarnation, SlotClient] = {}
        others: dict[str, SlotService] = {}
        for row in members.values():
            incarnation = Incarnation(row.node_id, row.incarnation)
            known = self._clients.pop(incarnation, None)
            clients[incarnation] = others[row.node_id] = known or self._client(row.host, row.port)
        gone, self._clients, self._others = self._clients, clients, others
        for client in gone.values():
            client.close()

    async def hint_resigned(self, resigned: Fence | None) -> None:
        """Tell the others that this node has left and which fence it has resigned.

        This only saves time: a node that does not get the hint reads the same from the store.
        """
        caller, fence = self.caller(), resigned or Fence()

        async def tell(service: SlotService) -> None:
            with suppress(TimeoutError, CoordinationError):
                async with asyncio.timeout(_HINT_TIMEOUT):
                    await service.hint_resigned(fence, caller)

        async with asyncio.TaskGroup() as tasks:
            for service in self._others.values():
                tasks.create_task(tell(service))

    def close(self) -> None:
        """End every connection and every call."""
        self.on_members({})
        if self._leading is not None:
            self._leading.close()

    def _client(self, host: str, port: int, on_not_coordinator: Callable[[], None] = lambda: None) -> SlotClient:
        # Thrift takes time to load, and a standalone node never needs it.
        from broker.thrift.client import SlotClient

        return SlotClient(
            host,
            port,
            clock=self._clock,
            pool_size=self._pool_size,
            reconnect_timeout=self._reconnect_timeout,
            secret=self._secret,
            on_not_coordinator=on_not_coordinator,
        )
