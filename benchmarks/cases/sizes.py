"""The same load with bodies from 16 octets to one mebibyte."""

from dataclasses import replace

from benchmarks.cases.throughput import PERSISTENT, TRANSIENT
from benchmarks.scenario import Scenario
from benchmarks.session import Session

SIZES = [16, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576]
METRICS = ["rate", "mb_per_s", "cpu_percent", "others_percent", "rss_mib"]
# A thousand unconfirmed messages of a mebibyte would measure memory, not the broker.
WINDOW_BYTES = 32 << 20


def size_name(size: int) -> str:
    """Return `16 B`, `4 KiB`, `1 MiB`."""
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size // unit} {name}"
    return f"{size} B"


def sized(scenario: Scenario, label: str, size: int, seconds: float) -> Scenario:
    """Return the scenario with another size and a window that size allows."""
    window = min(scenario.confirm_window, max(16, WINDOW_BYTES // size))
    return replace(scenario, name=f"{label} {size_name(size)}", size=size, seconds=seconds, confirm_window=window)


def run(session: Session) -> None:
    """Sweep the sizes, transient first."""
    seconds = session.options.seconds
    for label, scenario in (("transient", TRANSIENT), ("persistent", PERSISTENT)):
        session.compare(f"sizes {label}", [sized(scenario, label, size, seconds) for size in SIZES], METRICS)
