"""The users of WSO2's tables that this node remembers, so that the database is asked at most once a minute about each.

Who is remembered goes on while the database is away, however long that takes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from math import inf
from typing import Final
from weakref import WeakValueDictionary

from broker.ports.user_database import Account, StoreRules, UserDatabase

ENTRIES: Final = 10_000
UNKNOWN_ENTRIES: Final = 4096
UNKNOWN_LIFETIME: Final = 2.0
"""Seconds for which nobody is looked for again who was not there."""
BATCH: Final = 100
"""Users that are asked for with the same statements."""


class KnownAccount:
    """What is remembered of one user: whoever has logged in keeps it, so that it stays meanwhile."""

    __slots__ = ("__weakref__", "account", "at")

    def __init__(self, account: Account, at: float) -> None:
        self.account = account
        self.at = at


class Accounts:
    """Remembers the users that were asked for last."""

    def __init__(
        self,
        database: UserDatabase,
        rules: StoreRules,
        monotonic: Callable[[], float],
        lifetime: float,
        entries: int = ENTRIES,
    ) -> None:
        """What is younger than `lifetime` seconds is not asked for again."""
        self._database = database
        self._rules = rules
        self._now = monotonic
        self._lifetime = lifetime
        self._entries = entries
        self._kept: OrderedDict[str, KnownAccount] = OrderedDict()
        self._alive: WeakValueDictionary[str, KnownAccount] = WeakValueDictionary()
        self._unknown: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        """How many users are kept that nobody uses, too."""
        return len(self._kept)

    def recall(self, name: str) -> KnownAccount | None:
        """Return what is known of a user, however old it is."""
        return self._alive.get(self._rules.key(name))

    def fresh(self, name: str) -> KnownAccount | None:
        """Return what is known of a user, if it is young enough to count."""
        entry = self.recall(name)
        return entry if entry is not None and self._now() - entry.at < self._lifetime else None

    def is_unknown(self, name: str) -> bool:
        """Was there nobody of this name a moment ago?"""
        return self._now() < self._unknown.get(self._rules.key(name), 0.0)

    async def load(self, name: str) -> KnownAccount | None:
        """Ask for a user; return what is known now, None when there is none. Raises `StoreUnavailable`."""
        asked_at = self._now()
        account = (await self._database.load([name])).get(name)
        self._put(name, account, asked_at)
        return self.recall(name) if account is not None else None

    async def refresh(self, names: Iterable[str]) -> Sequence[str]:
        """Ask again for those of these users that are not fresh; return who is not as before, or not there any more.

        Raises `StoreUnavailable`.
        """
        waiting = iter([name for name in names if self.fresh(name) is None])
        changed = []
        while batch := list(islice(waiting, BATCH)):
            asked_at = self._now()
            found = await self._database.load(batch)
            for name in batch:
                known = self.recall(name)
                before = None if known is None else known.account
                self._put(name, found.get(name), asked_at)
                if found.get(name) != before:
                    changed.append(name)
        return changed

    def expire(self) -> None:
        """What is remembered is old: it is asked for again before it counts."""
        for entry in list(self._alive.values()):
            entry.at = -inf
        self._unknown.clear()

    def forget(self, name: str) -> None:
        """Somebody of this name may be there from now on."""
        self._unknown.pop(self._rules.key(name), None)

    def change(self, name: str, changed: Callable[[Account], Account]) -> None:
        """This is true of a user from now on, because this node has made it so; the database tells it later, too."""
        entry = self.recall(name)
        if entry is not None:
            entry.account = changed(entry.account)

    def forget_resource(self, resource: str) -> list[str]:
        """Nothing is said about a resource any more, because this node has removed it; return whom that concerned."""
        concerned = []
        for entry in list(self._alive.values()):
            account = entry.account
            if any(each.resource == resource for each in account.statements):
                left = frozenset(each for each in account.statements if each.resource != resource)
                entry.account = replace(account, statements=left)
                concerned.append(account.name)
        return concerned

    def _put(self, name: str, account: Account | None, at: float) -> None:
        key = self._rules.key(name)
        if account is None:
            self._kept.pop(key, None)
            self._alive.pop(key, None)
            self._unknown[key] = at + UNKNOWN_LIFETIME
            self._unknown.move_to_end(key)
            if len(self._unknown) > UNKNOWN_ENTRIES:
                self._unknown.popitem(last=False)
            return
        self._unknown.pop(key, None)
        entry = self._alive.get(key)
        if entry is None:
            entry = self._alive[key] = KnownAccount(account, at)
        entry.account, entry.at = account, at
        self._kept[key] = entry
        self._kept.move_to_end(key)
        if len(self._kept) > self._entries:
            self._kept.popitem(last=False)
