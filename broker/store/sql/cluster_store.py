"""The port `ClusterStore` over any database: each call is one transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from sqlalchemy import Connection

from broker.ports.cluster_rows import Beat, Claim, Lease, Leave, MembershipChange, NodeRow, Register, Renew, Resign
from broker.store.sql import cluster

T = TypeVar("T")


class Run(Protocol):
    """Calls a function in a transaction of its own; a `repeatable` one again when the connection turns out dead.

    One that `is_single` executes one statement.
    """

    def __call__(
        self, function: Callable[[Connection], T], *, repeatable: bool, is_single: bool = False
    ) -> Awaitable[T]: ...


class SqlClusterStore:
    """Lease, nodes and timeline in the tables of a database.

    A claim, a registration or an eviction without an answer is not repeated here: the caller reads the rows to find
    out whether it was done (ADR 16).
    """

    def __init__(self, run: Run) -> None:
        self._run = run

    async def read_lease(self) -> Lease:
        return await self._run(cluster.read_lease, repeatable=True, is_single=True)

    async def claim(self, claim: Claim, node_id: str, thrift_host: str, thrift_port: int) -> bool:
        return await self._run(
            lambda connection: cluster.claim(connection, claim, node_id, thrift_host, thrift_port), repeatable=False
        )

    async def renew(self, renew: Renew, node_id: str) -> bool:
        return await self._run(
            lambda connection: cluster.renew(connection, renew, node_id), repeatable=True, is_single=True
        )

    async def resign(self, resign: Resign, node_id: str) -> None:
        await self._run(lambda connection: cluster.resign(connection, resign, node_id), repeatable=True, is_single=True)

    async def own_row(self, node_id: str) -> NodeRow | None:
        return await self._run(lambda connection: cluster.own_row(connection, node_id), repeatable=True, is_single=True)

    async def register_node(self, register: Register, node_id: str, host: str, port: int, terms: str = "") -> bool:
        return await self._run(
            lambda connection: cluster.register_node(connection, register, node_id, host, port, terms), repeatable=False
        )

    async def beat(self, beat: Beat, node_id: str) -> bool:
        return await self._run(
            lambda connection: cluster.beat(connection, beat, node_id), repeatable=True, is_single=True
        )

    async def leave(self, leave: Leave, node_id: str) -> None:
        await self._run(lambda connection: cluster.leave(connection, leave, node_id), repeatable=True)

    async def nodes(self) -> list[NodeRow]:
        return await self._run(cluster.nodes, repeatable=True, is_single=True)

    async def evict(self, row: NodeRow, epoch: int, term: str) -> bool:
        return await self._run(lambda connection: cluster.evict(connection, row, epoch, term), repeatable=False)

    async def timeline(self, limit: int) -> list[MembershipChange]:
        return await self._run(lambda connection: cluster.timeline(connection, limit), repeatable=True, is_single=True)
