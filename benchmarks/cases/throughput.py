"""How many messages a second, in many shapes."""

from dataclasses import replace

from benchmarks.scenario import Scenario
from benchmarks.session import Session

RATE_METRICS = ["rate", "publish_rate", "cpu_percent", "others_percent", "rss_mib"]
LATENCY_METRICS = ["p50_ms", "p99_ms", "confirm_p50_ms", "confirm_p99_ms", "rate", "others_percent"]

TRANSIENT = Scenario("transient auto-ack")
ACK_EACH = Scenario("transient ack-each prefetch 1000", ack_every=1, prefetch=1000)
PERSISTENT = Scenario(
    "persistent confirms window 1000 ack 100", persistent=True, confirm_window=1000, ack_every=100, prefetch=1000
)
PUBLISH_ONLY = Scenario("publish only persistent confirms", persistent=True, confirm_window=1000, consumers=0)
LATENCY = replace(PERSISTENT, name="latency at 5 000/s persistent confirms", rate=5000)

SHAPES = [
    replace(TRANSIENT, name="transient ack 100 prefetch 1000", ack_every=100, prefetch=1000),
    replace(TRANSIENT, name="transient confirms window 1000 auto-ack", confirm_window=1000),
    replace(PERSISTENT, name="persistent confirms window 100 ack 100", confirm_window=100),
    replace(PERSISTENT, name="persistent confirms window 1 ack 100", confirm_window=1),
    replace(PERSISTENT, name="persistent confirms window 1000 ack-each", ack_every=1),
    replace(PERSISTENT, name="persistent no confirms ack 100", confirm_window=0),
    replace(TRANSIENT, name="1 publisher, 4 consumers, 1 queue", consumers=4),
    replace(TRANSIENT, name="4 publishers, 1 consumer, 1 queue", publishers=4),
    replace(TRANSIENT, name="4 publishers, 4 consumers, 4 queues", publishers=4, consumers=4, queues=4),
    replace(PERSISTENT, name="persistent 4 publishers, 4 consumers, 4 queues", publishers=4, consumers=4, queues=4),
    replace(TRANSIENT, name="1 publisher, 100 queues, not consumed", queues=100, consumers=0, confirm_window=1000),
    replace(TRANSIENT, name="fan-out to 5 queues", exchange="fanout", queues=5, consumers=5),
    replace(
        PERSISTENT, name="persistent fan-out to 5 queues", exchange="fanout", queues=5, consumers=5, confirm_window=1000
    ),
    replace(TRANSIENT, name="topic with 10 000 bindings", exchange="topic", bindings=10_000),
]


def headline(session: Session) -> None:
    """Measure the rows of the goals."""
    seconds = session.options.seconds
    rates = [replace(row, seconds=seconds) for row in (TRANSIENT, ACK_EACH, PERSISTENT, PUBLISH_ONLY)]
    session.compare("headline", rates, RATE_METRICS)
    session.compare("headline", [replace(LATENCY, seconds=seconds)], LATENCY_METRICS)


def run(session: Session) -> None:
    """Measure the rows of the goals and every other shape."""
    headline(session)
    session.compare("throughput", [replace(shape, seconds=session.options.seconds) for shape in SHAPES], RATE_METRICS)
