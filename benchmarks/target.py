"""A broker under measurement: its name, its address, and the memory and CPU of its process if that is local."""

import time
from dataclasses import dataclass

import psutil

from benchmarks.address import Address
from benchmarks.client import Client
from benchmarks.own_broker import OwnBroker

MIB = 1 << 20


def listening_pid(port: int) -> int | None:
    """Return the id of the process that listens on a local port, or None when it is not visible to this user."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return None
    found = [c.pid for c in connections if c.status == psutil.CONN_LISTEN and c.laddr.port == port and c.pid]
    return int(found[0]) if found else None


@dataclass(slots=True)
class Target:
    """One broker; `own` is set when the benchmark has started it and may kill it."""

    name: str
    address: Address
    pid: int | None = None
    own: OwnBroker | None = None
    product: str = ""

    def inspect(self) -> None:
        """Connect once to learn the product and the process id of the broker."""
        client = Client(self.address)
        self.product = client.product
        client.close()
        if self.pid is None and self.address.host in ("127.0.0.1", "localhost", "::1"):
            self.pid = listening_pid(self.address.port)

    def rss(self) -> int | None:
        """Return the resident memory of the broker's process."""
        return int(psutil.Process(self.pid).memory_info().rss) if self.pid else None

    def cpu_seconds(self) -> float | None:
        """Return the CPU time the broker's process has used."""
        if not self.pid:
            return None
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    def cores(self) -> list[int]:
        """Return the cores the broker may use."""
        return list(psutil.Process(self.pid).cpu_affinity()) if self.pid else []

    def describe(self) -> str:
        """Return one line for the head of a report."""
        cores = ",".join(map(str, self.cores())) or "?"
        return f"{self.name}: {self.product or 'unknown'} at {self.address}, pid {self.pid or '?'}, cores {cores}"


@dataclass(frozen=True, slots=True)
class Usage:
    """The CPU seconds used until `time`, by the broker and by all processes on the broker's cores."""

    time: float
    broker: float
    cores: float


class Meter:
    """Measures a target's memory and CPU, and the load of other processes on its cores, between the first and the last
    sample of a run.
    """

    __slots__ = ("_cores", "_first", "_last", "_target", "before", "peak")

    def __init__(self, target: Target, load_cores: set[int]) -> None:
        self._target = target
        self.before = self.peak = target.rss() or 0
        cores = set(target.cores())
        # If the load generator may use these cores too, the CPU time of other processes on them cannot be told apart.
        self._cores = cores if load_cores and not cores & load_cores else set()
        self._first: Usage | None = None
        self._last = Usage(0.0, 0.0, 0.0)

    def sample(self) -> None:
        """Take a sample, at most ten times a second: reading /proc uses CPU time of the load generator's core."""
        now = time.monotonic()
        if not self._target.pid or now < self._last.time + 0.1:
            return
        self.peak = max(self.peak, self._target.rss() or 0)
        self._last = Usage(now, self._target.cpu_seconds() or 0.0, busy_seconds(self._cores))
        self._first = self._first or self._last

    def values(self) -> dict[str, float]:
        """Return peak memory, its growth, the broker's share of one core and that of others on its cores."""
        first, last = self._first, self._last
        if first is None:
            return {}
        elapsed = max(0.1, last.time - first.time)
        broker = 100 * (last.broker - first.broker) / elapsed
        values = {
            "rss_mib": self.peak / MIB,
            "rss_growth_mib": (self.peak - self.before) / MIB,
            "cpu_percent": broker,
        }
        if self._cores:
            values["others_percent"] = max(0.0, 100 * (last.cores - first.cores) / elapsed - broker)
        return values


def busy_seconds(cores: set[int]) -> float:
    """Return the busy seconds of these cores for all processes, including time stolen by the hypervisor."""
    if not cores:
        return 0.0
    times = psutil.cpu_times(percpu=True)
    return float(sum(sum(times[core]) - times[core].idle - times[core].iowait - times[core].guest for core in cores))
