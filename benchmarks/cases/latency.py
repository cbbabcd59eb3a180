"""How long a message takes at rates a broker must bear without effort."""

from dataclasses import replace

from benchmarks.cases.throughput import PERSISTENT, TRANSIENT
from benchmarks.session import Session

RATES = [1_000, 5_000, 20_000]
METRICS = ["p50_ms", "p95_ms", "p99_ms", "max_ms"]
CONFIRM_METRICS = [*METRICS, "confirm_p50_ms", "confirm_p95_ms", "confirm_p99_ms", "confirm_max_ms"]


def run(session: Session) -> None:
    """Measure publish to deliver, and publish to confirm where there are confirms."""
    seconds = session.options.seconds
    for rate in RATES:
        text = f"{rate:,}".replace(",", " ")
        transient = replace(TRANSIENT, name=f"transient at {text}/s", rate=rate, seconds=seconds)
        persistent = replace(PERSISTENT, name=f"persistent confirms at {text}/s", rate=rate, seconds=seconds)
        session.compare("latency", [transient], METRICS)
        session.compare("latency", [persistent], CONFIRM_METRICS)
