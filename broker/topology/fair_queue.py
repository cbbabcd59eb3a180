"""A queue that serves everybody in turn: who has put much into it delays nobody but itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items in the order in which they came from each client, and the clients in turn."""

    __slots__ = ("_by_client", "_size")

    def __init__(self) -> None:
        self._by_client: dict[Hashable, deque[T]] = {}  # in the order of their turns
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[T]:
        for items in self._by_client.values():
            yield from items

    def add(self, client: Hashable, item: T) -> None:
        """Add an item behind all others of `client`."""
        self._by_client.setdefault(client, deque()).append(item)
        self._size += 1

    def put_back(self, client: Hashable, item: T) -> None:
        """Put back an item that was taken, before all others of `client`."""
        self._by_client.setdefault(client, deque()).appendleft(item)
        self._size += 1

    def remove(self, client: Hashable, item: T) -> None:
        """Remove an item, if it is here."""
        items = self._by_client.get(client, deque())
        if item in items:
            items.remove(item)
            self._size -= 1
            if not items:
                del self._by_client[client]

    def take(self, limit: int) -> list[T]:
        """Return up to `limit` items: one of each client in turn, and so on until there are none."""
        taken: list[T] = []
        while self._by_client and len(taken) < limit:
            client, items = next(iter(self._by_client.items()))
            del self._by_client[client]
            taken.append(items.popleft())
            if items:
                self._by_client[client] = items
        self._size -= len(taken)
        return taken
