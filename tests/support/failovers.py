"""Fail-overs of a database under the confirmed load: what befalls its servers, and how soon confirms come back.

Knows the servers and the load's record; must not judge the history.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.support.clients import Recorder
from tests.support.cluster_chaos import ALL_NODES, Struck
from tests.support.galera import Galera
from tests.support.network import Host, Network
from tests.support.standbys import Pair, PostgreSQLPair
from tests.support.storm import IN_FLIGHT, first_confirm
from tests.support.waiting import wait_until

DEADLINE = 90.0
BEHIND = 0.5  # seconds for which a standby gets nothing before the primary dies
SILENCE = 3.0  # seconds without a confirm after which nobody can confirm any more


@dataclass
class FailOvers:
    """Rounds of one fault after the other."""

    faults: dict[str, Callable[[], Callable[[], None]]]
    """Strikes, and returns what makes everything whole again."""
    seed: int
    confirms: int = 2_000
    struck: list[Struck] = field(default_factory=list)
    resumed: dict[str, list[float]] = field(default_factory=dict)
    """For each fault, seconds from it to confirms of new publishes; from its end when it returns only then."""
    ended: set[str] = field(default_factory=set)
    """The faults that end before they return, because nobody confirms before that."""
    recorder: Recorder = field(default_factory=Recorder)

    def rounds(self, name: str, number: int, recorder: Recorder) -> None:
        chance, self.recorder = random.Random(self.seed), recorder
        for _ in range(number):
            self._wait_for(recorder, chance.randint(self.confirms // 2, self.confirms))
            start, began = len(recorder.events), time.monotonic()
            mend = self.faults[name]()
            accepted = time.monotonic()
            self._wait_for(recorder, IN_FLIGHT + 1)
            since = accepted if name in self.ended else began
            self.resumed.setdefault(name, []).append(first_confirm(recorder.events[start:], accepted) - since)
            mend()
            self.struck.append(Struck(name, ALL_NODES, began, time.monotonic()))
        self._wait_for(recorder, self.confirms // 4)

    def wait_for_silence(self) -> None:
        """Return when nothing has been confirmed for a while."""
        seen, since = -1, 0.0

        def is_silent() -> bool:
            nonlocal seen, since
            if self.recorder.confirmed != seen:
                seen, since = self.recorder.confirmed, time.monotonic()
            return time.monotonic() - since > SILENCE

        wait_until(is_silent, DEADLINE, "no confirms")

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


@dataclass
class Partition:
    """A network, the hosts of brokers on it, and what is waited for while it is split: that the broker on the lesser
    side counts as gone.
    """

    network: Network
    brokers: Sequence[Host]
    wait_until_gone: Callable[[], None] = lambda: None

    def cut_off(self, server: Host | None, *, with_broker: bool) -> None:
        """Let nothing pass between a server of the database, maybe with the first broker, and everything else."""
        lesser = [host for host in (server, self.brokers[0] if with_broker else None) if host is not None]
        self.network.split(lesser, [host for host in self.network.hosts if host not in lesser])

    def is_of_all(self, *, with_broker: bool) -> bool:
        """Does it leave no broker where the database lives on?"""
        return with_broker and len(self.brokers) == 1


def of_pair(pair: Pair, seed: int, partition: Partition | None = None) -> FailOvers:
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
        assert isinstance(pair, PostgreSQLPair)
        pair.fall_behind()
        time.sleep(BEHIND)
        pair.kill()
        pair.promote()
        return pair.rebuild

    fails = FailOvers({"killed": killed, "cut off": cut_off, "killed ahead of its standby": killed_ahead}, seed)
    if partition is not None:
        _add_partitions(
            fails, partition, lambda: pair.primary.on, pair.promote, pair.kill_former, pair.rebuild, _nothing
        )
    return fails


def of_galera(galera: Galera, seed: int, partition: Partition | None = None) -> FailOvers:
    """What befalls the server of three that the brokers use."""
    server = galera.servers[0]

    def killed() -> Callable[[], None]:
        galera.wait_until_whole()  # without one server more it would lose its majority
        server.kill9()

        def mend() -> None:
            server.start()
            galera.wait_until_whole()

        return mend

    def lost() -> Callable[[], None]:
        mend = killed()
        server.lose_data()
        return mend

    def stands_still() -> Callable[[], None]:
        galera.wait_until_whole()
        server.suspend()

        def mend() -> None:
            server.resume()
            galera.wait_until_whole()

        return mend

    def not_ready() -> Callable[[], None]:
        galera.wait_until_whole()
        server.isolate(is_isolated=True)

        def mend() -> None:
            server.isolate(is_isolated=False)
            galera.wait_until_whole()

        return mend

    fails = FailOvers(
        {"killed": killed, "lost with its data": lost, "stands still": stands_still, "not ready": not_ready}, seed
    )
    if partition is not None:
        _add_partitions(
            fails, partition, lambda: server.on, _nothing, _nothing, galera.wait_until_whole, galera.wait_until_whole
        )
    return fails


def _nothing() -> None:
    pass


def _add_partitions(
    fails: FailOvers,
    partition: Partition,
    server: Callable[[], Host | None],
    fail_over: Callable[[], None],
    end_former: Callable[[], None],
    mend: Callable[[], None],
    prepare: Callable[[], None],
) -> None:
    """Add faults that cut `server` off: the database is made to `fail_over`, and what is cut off ends before it is
    reached again.
    """

    def apart(name: str, *, with_broker: bool) -> Callable[[], Callable[[], None]]:
        def unite() -> None:
            end_former()
            partition.network.unite()

        def strike() -> Callable[[], None]:
            prepare()
            partition.cut_off(server(), with_broker=with_broker)
            fail_over()
            if partition.is_of_all(with_broker=with_broker):
                fails.wait_for_silence()
                unite()
                return mend

            def heal() -> None:
                if with_broker:
                    partition.wait_until_gone()
                unite()
                mend()

            return heal

        if partition.is_of_all(with_broker=with_broker):
            fails.ended.add(name)
        return strike

    for name, with_broker in (("partition", False), ("partition with a broker", True)):
        fails.faults[name] = apart(name, with_broker=with_broker)
