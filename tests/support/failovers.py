"""Fail-overs of a database under the confirmed load: what befalls its servers, and how soon confirms come back.

Knows the servers and the load's record; must not judge the history.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.support.clients import Recorder
from tests.support.cluster_chaos import ALL_NODES, Struck
from tests.support.galera import Galera
from tests.support.standbys import PostgreSQLPair
from tests.support.storm import IN_FLIGHT, first_confirm
from tests.support.waiting import wait_until

DEADLINE = 90.0
BEHIND = 0.5  # seconds for which a standby gets nothing before the primary dies


@dataclass
class FailOvers:
    """Rounds of one fault after the other."""

    faults: dict[str, Callable[[], Callable[[], None]]]
    """Strikes, and returns what makes everything whole again."""
    seed: int
    confirms: int = 2_000
    struck: list[Struck] = field(default_factory=list)
    resumed: dict[str, list[float]] = field(default_factory=dict)
    """For each fault, seconds from it to confirms of new publishes."""

    def rounds(self, name: str, number: int, recorder: Recorder) -> None:
        chance = random.Random(self.seed)
        for _ in range(number):
            self._wait_for(recorder, chance.randint(self.confirms // 2, self.confirms))
            start, began = len(recorder.events), time.monotonic()
            mend = self.faults[name]()
            accepted = time.monotonic()
            self._wait_for(recorder, IN_FLIGHT + 1)
            self.resumed.setdefault(name, []).append(first_confirm(recorder.events[start:], accepted) - began)
            mend()
            self.struck.append(Struck(name, ALL_NODES, began, time.monotonic()))
        self._wait_for(recorder, self.confirms // 4)

    def _wait_for(self, recorder: Recorder, number: int) -> None:
        total = recorder.confirmed + number
        wait_until(lambda: recorder.confirmed >= total, DEADLINE, f"{number} more confirms")

    @property
    def table(self) -> str:
        return "; ".join(
            f"{name}: {len(times)} rounds, confirms after {statistics.median(times):.1f} s (median),"
            f" {max(times):.1f} s (most)"
            for name, times in self.resumed.items()
        )


def of_pair(pair: PostgreSQLPair, seed: int) -> FailOvers:
    """What befalls a primary and its standby."""

    def killed() -> Callable[[], None]:
        pair.kill()
        pair.promote()
        return pair.rebuild

    def cut_off() -> Callable[[], None]:
        pair.cut_off()
        pair.promote()
        return pair.rebuild

    def killed_ahead() -> Callable[[], None]:
        pair.fall_behind()
        time.sleep(BEHIND)
        pair.kill()
        pair.promote()
        return pair.rebuild

    return FailOvers({"killed": killed, "cut off": cut_off, "killed ahead of its standby": killed_ahead}, seed)


def of_galera(galera: Galera, seed: int) -> FailOvers:
    """What befalls the server of three that the brokers use."""
    server = galera.servers[0]

    def killed() -> Callable[[], None]:
        server.kill9()

        def mend() -> None:
            server.start()
            galera.wait_until_whole()

        return mend

    def stands_still() -> Callable[[], None]:
        server.suspend()

        def mend() -> None:
            server.resume()
            galera.wait_until_whole()

        return mend

    def not_ready() -> Callable[[], None]:
        server.isolate(is_isolated=True)

        def mend() -> None:
            server.isolate(is_isolated=False)
            galera.wait_until_whole()

        return mend

    return FailOvers({"killed": killed, "stands still": stands_still, "not ready": not_ready}, seed)
