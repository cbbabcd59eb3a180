"""What operators of one node have another do with its clients: the operations by name.

An operation may be asked for twice: what is done already is not there any more.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import structlog

from broker.amqp.connection import Connection
from broker.errors import CoordinationError
from broker.management.figures.view import NodeView
from broker.management.operated import CLOSE_CONNECTIONS, CLOSE_SUBSCRIPTION, FORGET_ATTEMPTS

_log = structlog.get_logger(__name__)

_TOLD_REASON: Final = 200
"""Characters of the reason for which a connection is closed."""

Operation: TypeAlias = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


class Operations:
    """What this node does for operators of others."""

    def __init__(self, view: NodeView, close_subscription: Callable[[str, str], Awaitable[bool]]) -> None:
        """`close_subscription` takes the consumer of a subscription of this node away: virtual host and id."""
        self._view = view
        self._close_subscription = close_subscription
        self._by_name: Mapping[str, Operation] = {
            CLOSE_CONNECTIONS: self._on_close_connections,
            CLOSE_SUBSCRIPTION: self._on_close_subscription,
            FORGET_ATTEMPTS: self._on_forget_attempts,
        }

    async def carry_out(self, operation: str, given: bytes) -> bytes:
        """Do it, and return the answer. Raises `CoordinationError` for what this node does not know."""
        known = self._by_name.get(operation)
        if known is None:
            raise CoordinationError(f"there is no operation '{operation[:40]}'")
        try:
            answer = await known(json.loads(given))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise CoordinationError(f"{operation}: an argument is missing or wrong: {error}") from error
        return json.dumps(answer).encode()

    async def _on_close_connections(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        name, user = given.get("name"), given.get("user")
        reason, by = str(given["reason"]), str(given["by"])
        found = [each for each in self._view.connections() if name_of(each) == name or each.user == user]
        for connection in found:
            close(connection, reason, by)
        return {"closed": len(found)}

    async def _on_close_subscription(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"closed": await self._close_subscription(str(given["vhost"]), str(given["id"]))}

    async def _on_forget_attempts(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        count_logins_anew(self._view)
        return {}


def count_logins_anew(view: NodeView) -> None:
    """Count logins anew."""
    for counts in view.broker.logins.values():
        counts.succeeded = counts.failed = 0


def name_of(connection: Connection) -> str:
    """Return the name by which operators know a connection."""
    return connection.handshake.peer.connection_name


def close(connection: Connection, reason: str, by: str) -> None:
    """Close the connection of a client, who is told the reason, as its operator `by` wants it."""
    _log.info("a connection is closed", connection=connection.handshake.peer.address, by=by)
    connection.force_close("".join(each for each in reason if each.isprintable())[:_TOLD_REASON])
