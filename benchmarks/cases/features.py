"""What queue features cost those who use them: the same load, with and without each of them."""

from dataclasses import replace

from benchmarks.cases.requeue import DELIVERIES, fill_and_give_back
from benchmarks.cases.throughput import PERSISTENT, RATE_METRICS, TRANSIENT
from benchmarks.frames import Argument
from benchmarks.results import Row, Values
from benchmarks.scenario import Scenario
from benchmarks.session import Session
from benchmarks.target import Target

HOUR = 3_600_000
"""Milliseconds: nothing expires while it is measured."""
MANY = 100_000_000

# Each feature is measured where nothing but its bookkeeping is done, and where it takes effect on each message.
PLAIN = {
    "plain": replace(TRANSIENT),
    "x-message-ttl": replace(TRANSIENT, arguments={"x-message-ttl": HOUR}),
    "expiration": replace(TRANSIENT, expiration=str(HOUR)),
    "x-max-priority 5": replace(TRANSIENT, arguments={"x-max-priority": 5}, priorities=5),
    "x-max-length": replace(TRANSIENT, arguments={"x-max-length": MANY}),
    "x-max-length-bytes": replace(TRANSIENT, arguments={"x-max-length-bytes": 100 * MANY}),
}
CONFIRMED: dict[str, dict[str, Argument]] = {
    "reject-publish": {"x-max-length": MANY, "x-overflow": "reject-publish"},
    "x-single-active-consumer": {"x-single-active-consumer": True},
    "x-dedup-window, no keys": {"x-dedup-window": HOUR},
    "x-delivery-limit (quorum), not given back": {"x-queue-type": "quorum", "x-delivery-limit": 10},
}
KEYED = {
    "x-dedup-window": replace(PERSISTENT, arguments={"x-dedup-window": HOUR}, publishes_of_key=1),
    "x-message-deduplication": replace(PERSISTENT, arguments={"x-message-deduplication": True}, publishes_of_key=1),
    "keys without de-duplication": replace(PERSISTENT, publishes_of_key=1),
    "x-dedup-window, not consumed": replace(
        PERSISTENT, arguments={"x-dedup-window": HOUR}, publishes_of_key=1, consumers=0
    ),
    "x-dedup-window, each published twice, not consumed": replace(
        PERSISTENT, arguments={"x-dedup-window": HOUR}, publishes_of_key=2, consumers=0
    ),
}
EFFECTS = [
    replace(TRANSIENT, name="drop-head: each message makes room", consumers=0, arguments={"x-max-length": 1000}),
    replace(TRANSIENT, name="each message is dead-lettered", dead_letters=True, arguments={"x-max-length": 0}),
    replace(
        PERSISTENT, name="each persistent message is dead-lettered", dead_letters=True, arguments={"x-max-length": 0}
    ),
]
RETURNED = replace(PERSISTENT, consumers=0, count=1000, prefetch=100)


def run(session: Session) -> None:
    """Measure every feature on transient and on persistent messages, and what each of them does."""
    seconds = session.options.seconds
    rows = [replace(row, name=f"transient auto-ack, {name}") for name, row in PLAIN.items()]
    rows += [
        replace(
            PERSISTENT,
            name=f"persistent confirms, {name}",
            arguments=row.arguments,
            priorities=row.priorities,
            expiration=row.expiration,
        )
        for name, row in PLAIN.items()
    ]
    rows += [
        replace(PERSISTENT, name=f"persistent confirms, {name}", arguments=arguments)
        for name, arguments in CONFIRMED.items()
    ]
    rows += [replace(row, name=f"persistent confirms, {name}") for name, row in KEYED.items()]
    session.compare("features", [replace(row, seconds=seconds) for row in [*rows, *EFFECTS]], RATE_METRICS)
    _give_back(session, replace(RETURNED, name="given back, no limit"))
    limited: dict[str, Argument] = {"x-queue-type": "quorum", "x-delivery-limit": DELIVERIES}  # as RabbitMQ has it
    _give_back(session, replace(RETURNED, name="given back, counted (quorum)", arguments=limited))


def _give_back(session: Session, row: Scenario) -> None:
    def once(target: Target) -> Values:
        return fill_and_give_back(session, target, row)

    session.rounds(Row("features", row.name, ["rate", "cpu_percent", "others_percent", "rss_mib"]), once)
