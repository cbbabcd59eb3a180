"""The health of the store: whether it is up, judged by probes and by the journal's writes (ADR 14)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from broker.clock import Clock
from broker.errors import StoreFull, StoreUnavailable, StoreUnsafe
from broker.machine.faults import MachineFaults

_log = structlog.get_logger(__name__)

DOWN_AFTER: Final = 2.0
"""Seconds for which writes may fail, or a probe may take, until the store counts as down."""
_SAMPLE: Final = 0.25
_SUSPICIOUS: Final = 0.5
"""Seconds after which a write that is under way leads to a probe."""
_PROBE_AGAIN: Final = 1.0
"""Seconds between two probes while something is wrong."""
_LATE: Final = 1.0
"""Seconds between two samples that mean that this process stood still."""

# The reasons that clients are told: short, and without the store's own error text. That of a store which is not as safe
# as it must be names the setting.
_NO_ANSWER: Final = "store unavailable: no answer"
_FAILS: Final = "store unavailable: it cannot be written"
_FULL: Final = "low on disk: the store is full"


class WatchedStore(Protocol):
    """A store that answers probes and remembers the error of its last failed write."""

    write_failure: StoreUnavailable | None

    async def probe(self) -> float: ...


class WatchedJournal(Protocol):
    """What the journal tells of its writes."""

    is_failing: bool

    def stalled_for(self, now: float) -> float: ...


@dataclass(frozen=True, slots=True)
class StoreState:
    """The health of the store at one moment; `since` is the monotonic time of the last change of `is_up`."""

    is_up: bool
    since: float
    reason: str
    """Why the store counts as down, in the words that clients are told; empty while it is up."""
    last_failure: str
    """The error text of the store's last failure, of a probe or a write; empty before the first."""
    latency: float
    """Seconds that the last answered probe took."""
    probes: int
    failed_probes: int
    outages: int


class StoreHealth:
    """Decides whether the store is up, and runs the probes for that."""

    def __init__(
        self,
        store: WatchedStore,
        journal: WatchedJournal,
        clock: Clock,
        *,
        interval: float,
        on_change: Callable[[str], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Probe every `interval` seconds, and every second while something is wrong.

        `on_change` is called with the reason when the store goes down, and with "" when it is up again.
        """
        self._store = store
        self._journal = journal
        self._clock = clock
        self._interval = interval
        self._on_change = on_change
        self._sleep = sleep
        now = clock.monotonic()
        self._since = self._sampled_at = self._probed_at = now
        self._reason = ""
        self._failing_since: float | None = None
        self._probing_since: float | None = None
        self._unanswered_since: float | None = None
        self._last_failure: StoreUnavailable | None = None
        self._latency = 0.0
        self._probes = 0
        self._failed_probes = 0
        self._outages = 0
        self._answered = asyncio.Event()

    @property
    def is_down(self) -> bool:
        return bool(self._reason)

    @property
    def state(self) -> StoreState:
        failure = self._last_failure
        return StoreState(
            not self._reason,
            self._since,
            self._reason,
            "" if failure is None else str(failure),
            self._latency,
            self._probes,
            self._failed_probes,
            self._outages,
        )

    async def run(self) -> None:
        """Watch until cancelled. Raises what a probe raises, except `StoreUnavailable`."""
        faults = MachineFaults("the health of the store")
        async with asyncio.TaskGroup() as probes:
            while True:
                with faults:
                    now = self._clock.monotonic()
                    self.sample(now)
                    if self.is_probe_due(now):
                        probes.create_task(self.probe(), name="store probe")
                await self._sleep(_SAMPLE)

    async def pause(self, seconds: float) -> None:
        """Sleep, but wake up when a probe is answered: a write may succeed again."""
        try:
            async with asyncio.timeout(seconds):
                await self._answered.wait()
        except TimeoutError:
            return

    def sample(self, now: float) -> None:
        """Look at the journal and at the probe under way.

        When this process stood still since the last sample, the time that passed does not count against the store.
        """
        if now - self._sampled_at > _LATE:
            self._failing_since = None
            self._probing_since = now if self._probing_since is not None else None
        self._sampled_at = now
        started = self._probing_since
        if self._unanswered_since is None and started is not None and now - started >= DOWN_AFTER:
            self._unanswered_since = started
        if not self._journal.is_failing:
            self._failing_since = None
        elif self._failing_since is None:
            self._failing_since = now
        self._judge(now)

    def is_probe_due(self, now: float) -> bool:
        """Return whether to probe now.

        A write that fails or takes long leads to a probe within a second: it tells a slow write from a store that is
        away.
        """
        if self._probing_since is not None:
            return False
        is_suspicious = self._journal.is_failing or self._journal.stalled_for(now) >= _SUSPICIOUS
        is_urgent = is_suspicious or self.is_down or self._unanswered_since is not None
        return now - self._probed_at >= (_PROBE_AGAIN if is_urgent else self._interval)

    async def probe(self) -> None:
        """Ask the store once."""
        started = self._probing_since = self._clock.monotonic()
        self._probes += 1
        try:
            self._latency = await self._store.probe()
        except StoreUnavailable as error:
            self._failed_probes += 1
            self._last_failure = error
            if self._unanswered_since is None:
                self._unanswered_since = started
        else:
            self._unanswered_since = None
            self._answered.set()  # wakes those who wait now; later ones wait for the next answer
            self._answered = asyncio.Event()
        finally:
            self._probing_since = None
            self._probed_at = self._clock.monotonic()
        self._judge(self._probed_at)

    def _judge(self, now: float) -> None:
        reason = self._trouble(now)
        if bool(reason) == self.is_down:
            return
        seconds = now - self._since
        self._since, self._reason = now, reason
        if reason:
            self._outages += 1
            _log.warning("the store is down", reason=reason, last_failure=str(self._last_failure or ""))
        else:
            _log.info("the store is up again", seconds=round(seconds, 1))
        self._on_change(reason)

    def _trouble(self, now: float) -> str:
        """Return why the store counts as down, "" if it does not; once it is down, any sign of trouble keeps it so."""
        if self._failing_since is not None and (self.is_down or now - self._failing_since >= DOWN_AFTER):
            self._last_failure = self._store.write_failure or self._last_failure
            return _reason_of(self._store.write_failure)
        if self._probing_since is not None and now - self._probing_since >= DOWN_AFTER:
            return _NO_ANSWER
        if self._unanswered_since is None:
            return ""
        # What happened after the last probe is not known: only the time up to it counts.
        has_failed_long = self._probed_at - self._unanswered_since >= DOWN_AFTER
        return _reason_of(self._last_failure) if self.is_down or has_failed_long else ""


def _reason_of(failure: StoreUnavailable | None) -> str:
    if isinstance(failure, StoreUnsafe):
        return f"store unsafe: {failure}"
    return _FULL if isinstance(failure, StoreFull) else _FAILS
