"""The way to have other nodes do something with the clients that are connected there (`operations` does it)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

CLOSE_CONNECTIONS: Final = "close_connections"
"""Closes connections of clients: `name` names one, `user` all of a user; also `reason`, and who asks (`by`)."""
CLOSE_SUBSCRIPTION: Final = "close_subscription"
"""Takes the consumer of a subscription away: `vhost`, `id`."""

FORGET_ATTEMPTS: Final = "forget_attempts"
"""Counts logins anew."""


@dataclass(frozen=True, slots=True)
class Operated:
    """What other nodes have done."""

    done: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Their answers, by node id."""
    silent: tuple[str, ...] = ()
    """Nodes that have not answered in time: whether they have done it is unknown."""


class OperatedNodes(Protocol):
    """The other nodes of the cluster."""

    async def operate(self, operation: str, given: Mapping[str, Any], node_id: str | None = None) -> Operated:
        """Have the other living nodes do something, or one of them."""
        ...


class NobodyToOperate:
    """Stands where there are no other nodes."""

    async def operate(self, operation: str, given: Mapping[str, Any], node_id: str | None = None) -> Operated:
        return Operated()
