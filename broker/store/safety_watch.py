"""Judges the settings of the database again while the node runs: a standby may vanish, or a setting be changed.

It is done within a second of a new connection, and of a commit that did not wait for its standby, and every ten seconds
(ADR 86, ADR 91): a primary of MariaDB or MySQL that gives up its replicas tells nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import structlog

from broker.clock import Clock
from broker.errors import StoreError
from broker.machine.faults import MachineFaults

_log = structlog.get_logger(__name__)

_LOOK: Final = 1.0
_INTERVAL: Final = 10.0


class JudgedStore(Protocol):
    """A store whose settings can be judged."""

    @property
    def connects(self) -> int:
        """How often there was a reason to judge it: a connection was made, or a commit did not wait for its standby."""
        ...

    async def check_safety(self) -> Sequence[str]: ...

    async def distrust(self) -> None: ...


class SafetyWatch:
    """Knows the settings of the database under which it can lose what it has committed."""

    def __init__(
        self, store: JudgedStore, clock: Clock, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._store = store
        self._clock = clock
        self._sleep = sleep
        self._judge_at = 0.0
        self._connects = 0
        self.findings: Sequence[str] = ()
        """A line for each setting."""

    async def judge(self) -> Sequence[str]:
        """Ask the database, say what has changed, and return the findings. Raises `StoreUnavailable`."""
        self._connects = self._store.connects
        before, self.findings = self.findings, await self._store.check_safety()
        self._judge_at = self._clock.monotonic() + _INTERVAL
        for line in self.findings:
            if line not in before:
                _log.warning("the database can lose what it has committed", setting=line)
        if before and not self.findings:
            _log.info("the database does not lose what it commits any more")
        return self.findings

    async def run(self) -> None:
        """Judge again and again until cancelled."""
        faults = MachineFaults("the judging of the store's settings")
        while True:
            await self._sleep(_LOOK)
            with faults:
                if self._store.connects != self._connects or self._clock.monotonic() >= self._judge_at:
                    await self._judge_again()

    async def _judge_again(self) -> None:
        try:
            if await self.judge():
                await self._store.distrust()
        except StoreError as error:
            _log.debug("the database does not tell its settings", reason=str(error))
