"""Caches that are bounded by octets, all caches of a node together.

What clients send decides how many entries a cache gets and how large they are, and each client may have caches of its
own. So a bound on the entries of one cache bounds nothing: the budget is the node's, and counts octets.
"""

from __future__ import annotations

from itertools import count
from typing import Any, Final, Generic, TypeVar
from weakref import WeakValueDictionary

ENTRY_OVERHEAD: Final = 300
"""Approximate octets that an entry costs beside what its owner counts: its place in the dict, small objects."""

_Value = TypeVar("_Value")


class Cache(dict[bytes, _Value], Generic[_Value]):
    """A dict that counts what lies in it. Read it as any dict; put in by `remember`.

    It may be emptied whenever something is put into any cache of the same budget: what is not found is made again.
    """

    __slots__ = ("__weakref__", "_budget", "octets")

    def __init__(self, budget: CacheBudget) -> None:
        super().__init__()
        self._budget = budget
        self.octets = 0
        """Octets that the entries are counted for."""

    def remember(self, key: bytes, value: _Value, octets: int) -> None:
        """Keep `value` under a new `key`: together they take `octets`, without `ENTRY_OVERHEAD`."""
        octets += ENTRY_OVERHEAD
        self._budget.spend(octets)
        self.octets += octets
        self[key] = value

    def clear(self) -> None:
        """Forget everything: its octets are free again."""
        self._budget.give_back(self.octets)
        self.octets = 0
        super().clear()


class CacheBudget:
    """How many octets the caches of one node may take together. When that is too little, all of them are emptied.

    `new_cache` returns a cache, and `remember` of a cache puts something in. Who drops a cache need not say so.
    """

    __slots__ = ("_caches", "_limit", "_numbers", "spent")

    def __init__(self, limit: int = 32 * 1024 * 1024) -> None:
        """`limit` is in octets."""
        self._limit = limit
        self._numbers = count()
        self._caches: WeakValueDictionary[int, Cache[Any]] = WeakValueDictionary()
        self.spent = 0
        """Octets in all caches, those dropped since the last look at them included."""

    def new_cache(self) -> Cache[Any]:
        """Return an empty cache within this budget."""
        cache: Cache[Any] = Cache(self)
        self._caches[next(self._numbers)] = cache
        return cache

    def spend(self, octets: int) -> None:
        """A cache grows by so many octets: make room for them."""
        self.spent += octets
        if self.spent > self._limit:
            caches = list(self._caches.values())
            self.spent = octets + sum(cache.octets for cache in caches)
            if self.spent > self._limit // 2:  # otherwise dropped ones took the room; looking each time would be costly
                for cache in caches:
                    cache.clear()

    def give_back(self, octets: int) -> None:
        """A cache has become smaller by so many octets."""
        self.spent -= octets
