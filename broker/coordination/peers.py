"""Clients for the slot services of the other nodes: one for each living member, and one for the coordinator."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from broker.clock import Clock
from broker.coordination.membership.agent import ClusterAgent
from broker.coordination.membership.coordinator_address import FencedAddress
from broker.errors import CoordinationError
from broker.machine.host_names import HostNames
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
        secret: SharedSecret | None,
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
        self._names = HostNames()
        self._clients: dict[Incarnation, SlotClient] = {}
        self._others: dict[str, SlotService] = {}
        self._leading: SlotClient | None = None
        self._led_from: FencedAddress | None = None

    def others(self) -> Mapping[str, SlotService]:
        """Return the services of the other living nodes, by id."""
        return self._others

    def members(self) -> Mapping[Incarnation, SlotService]:
        """Return the services of the other living nodes, by incarnation."""
        return self._clients

    def everybody(self) -> Mapping[str, SlotService]:
        """Return the services of all living nodes by id, including this node's own."""
        return {self._agent.node_id: self._local, **self._others}

    def coordinator(self) -> SlotService | None:
        """Return the coordinator's service: this node's own while it may act; None while no coordinator is known.

        While the fence stays the same, the same object stands for the same coordinator.
        """
        agent = self._agent
        if agent.fence is not None:
            return self._local
        known = agent.coordinator
        if known is None or known[:2] == agent.address:
            # The known coordinator is this node, which may not act yet or not any more.
            return None
        if self._leading is None:
            self._leading = self._client(*known[:2], agent.on_hint)
        elif known != self._led_from:
            # The epochs are not compared: after a database fail-over that lost commits the lower one may be valid
            # (ADR 16).
            self._leading.move_to(*known[:2])
        self._led_from = known
        return self._leading

    def caller(self) -> Caller:
        """Return this node as the caller of a service, without a request id: the client adds one to each call."""
        agent = self._agent
        incarnation = agent.incarnation.id if agent.incarnation is not None else ""
        return Caller(agent.node_id, incarnation, fence=agent.known_fence)

    def on_members(self, members: Mapping[str, NodeRow]) -> None:
        """Make clients for new members and close those of gone ones; `members` are the other living nodes."""
        clients: dict[Incarnation, SlotClient] = {}
        others: dict[str, SlotService] = {}
        for row in members.values():
            incarnation = Incarnation(row.node_id, row.incarnation)
            known = self._clients.pop(incarnation, None)
            client = known or self._client(row.host, row.port, callee=row.incarnation)
            clients[incarnation] = others[row.node_id] = client
        gone, self._clients, self._others = self._clients, clients, others
        for client in gone.values():
            client.close()

    async def hint_resigned(self, resigned: Fence | None) -> None:
        """Tell the other nodes that this node has left and which fence it has resigned.

        The hint only saves time: a node that does not get it reads the same from the store later.
        """
        caller, fence = self.caller(), resigned or Fence()

        async def tell(service: SlotService) -> None:
            with suppress(TimeoutError, CoordinationError):
                async with asyncio.timeout(_HINT_TIMEOUT):
                    await service.hint_resigned(fence, caller)

        async with asyncio.TaskGroup() as tasks:
            for service in self._others.values():
                tasks.create_task(tell(service))

    async def answers(self, row: NodeRow) -> bool:
        """Return whether the incarnation of a row answers at the row's address."""
        client = self._client(row.host, row.port, callee=row.incarnation)
        try:
            async with asyncio.timeout(_HINT_TIMEOUT):
                await client.hint_resigned(Fence(), self.caller())  # which does no harm
        except (TimeoutError, CoordinationError):
            return False
        finally:
            client.close()
        return True

    def close(self) -> None:
        """Close every client; calls under way fail."""
        self.on_members({})
        if self._leading is not None:
            self._leading.close()

    def _client(
        self, host: str, port: int, on_not_coordinator: Callable[[], None] = lambda: None, callee: str = ""
    ) -> SlotClient:
        # Imported here because Thrift takes time to load and a standalone node does not need it.
        from broker.thrift.client import SlotClient

        return SlotClient(
            host,
            port,
            clock=self._clock,
            pool_size=self._pool_size,
            reconnect_timeout=self._reconnect_timeout,
            secret=self._secret,
            on_not_coordinator=on_not_coordinator,
            callee=callee,
            names=self._names,
        )
