"""Forgets keys of de-duplication that are remembered no longer, in bounded steps beside everything else (ADR 66).

What is over is found by looking through all keys page by page: at once as long as much is found, ever more rarely when
there is nothing. How many keys a scope may have is counted here roughly: it is looked at after each eighth of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from broker.errors import StoreUnavailable
from broker.message import KeyedMessage
from broker.ports.store import FIRST_KEY, DeduplicationStore

KEYS_AT_ONCE: Final = 1000
SMALL_SCOPE: Final = 1000
"""Keys up to which those that are too many are forgotten before the publishes that brought them are confirmed."""
_PARTS: Final = 8
_MARGIN_MS: Final = 1000
"""By how much the clocks of nodes may differ at most before a key would be forgotten too early."""
_AT_ONCE: Final = 0.02
_SOON: Final = 1.0
_LATEST: Final = 60.0


class KeyUpkeep:
    """Of one node; nodes that share a store may all do it."""

    def __init__(
        self,
        store: DeduplicationStore,
        *,
        now_ms: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._now_ms = now_ms
        self._sleep = sleep
        self._room: dict[int, int] = {}
        """By scope, how many keys may come before it is looked at."""
        self._large: dict[int, int] = {}
        """Scopes that are to be looked at later, and how many keys they may have."""
        self._after = FIRST_KEY
        self.pause = _SOON
        """Seconds until the next step."""

    async def on_keyed(self, keyed: Iterable[KeyedMessage]) -> None:
        """These messages have asked for keys: look after scopes that have too many."""
        room = self._room
        limits = {claim.scope: claim.keep for message in keyed for claim in message.claims if claim.keep}
        if not limits:
            return
        for message in keyed:
            for claim in message.claims:
                if claim.keep:
                    room[claim.scope] = room.get(claim.scope, 0) - 1
        for scope, keep in limits.items():
            if room[scope] < 0:
                room[scope] = keep // _PARTS
                if keep <= SMALL_SCOPE:
                    await self._trim(scope, keep)
                else:
                    self._large[scope] = keep

    async def _trim(self, scope: int, keep: int) -> None:
        try:
            while await self._store.trim_keys(scope, keep, KEYS_AT_ONCE) == KEYS_AT_ONCE:
                await self._sleep(0)
        except StoreUnavailable:
            self._large[scope] = keep  # later

    async def run(self) -> None:
        """Look after keys until cancelled."""
        while True:
            await self._sleep(self.pause)
            await self.step()

    async def step(self) -> None:
        """Forget what is too much in large scopes, and look through the next page of keys."""
        large, self._large = self._large, {}
        for scope, keep in large.items():
            await self._trim(scope, keep)
        try:
            sweep = await self._store.sweep_keys(self._after, self._now_ms() - _MARGIN_MS, KEYS_AT_ONCE)
        except StoreUnavailable:
            self.pause = _SOON
            return
        self._after = sweep.last or FIRST_KEY
        if sweep.forgotten and _PARTS * sweep.forgotten >= 2 * sweep.seen:
            self.pause = _AT_ONCE
        elif sweep.forgotten or self._large:
            self.pause = _SOON
        else:
            self.pause = min(max(2 * self.pause, _SOON), _LATEST)
