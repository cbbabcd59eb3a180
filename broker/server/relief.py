"""Ends a memory alarm that clients keep up by what they have begun and cannot finish while it stands (ADR 36).

A client that is blocked cannot send the rest of a body, or the commit of a transaction, so their memory would never be
free again. Decides only: the server asks, and closes.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Final, Generic, TypeVar

_TIMEOUT: Final = 30.0
"""Seconds in which blocked clients may roll back or close by themselves."""

_Client = TypeVar("_Client", bound=Hashable)


class Relief(Generic[_Client]):
    """Whom to close when what clients have not finished is too much for too long."""

    def __init__(self, limit: int, timeout: float = _TIMEOUT) -> None:
        """During an alarm all clients together may hold `limit` octets, and more than that for `timeout` seconds."""
        self._limit = limit
        self._timeout = timeout
        self._since: float | None = None

    def on_alarm_over(self) -> None:
        """Memory is not short, or not any more."""
        self._since = None

    def choose(self, now: float, unfinished: Mapping[_Client, int]) -> list[_Client]:
        """Return the clients to close now, from the octets that each of them holds. Call it while memory is short."""
        total = sum(unfinished.values())
        if total <= self._limit:
            self._since = None
            return []
        if self._since is None:
            self._since = now
        if now - self._since < self._timeout:
            return []
        chosen = []
        for client in sorted(unfinished, key=lambda each: unfinished[each], reverse=True):
            if total <= self._limit:
                break
            chosen.append(client)
            total -= unfinished[client]
        return chosen
