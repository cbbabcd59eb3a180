"""Small groups of messages behind a large one: when a consumer has them, with message groups and in a plain queue."""

import time
from collections.abc import Iterator

from benchmarks.client import Client
from benchmarks.deliveries import PeerFault
from benchmarks.frames import Argument, ack, publish
from benchmarks.results import Row, Values
from benchmarks.session import Session
from benchmarks.target import MIB, Target

QUEUE = "bench.groups"
LARGE = 100_000
SMALL_GROUPS, SMALL = 99, 10
SIZE = 100
PREFETCH = 200
STORED_IN = 120.0
"""Seconds in which all messages must be in the queue."""
METRICS = ["last_small_at", "last_small_ms", "rate", "rss_mib"]
GROUPS: dict[str, Argument] = {"x-message-groups": True}


def run(session: Session) -> None:
    """Measure a plain queue on every broker, and one with groups on ours."""
    name = f"a group of {LARGE:,} before {SMALL_GROUPS} of {SMALL}".replace(",", " ")
    session.rounds(Row("groups", f"{name}, plain", METRICS), lambda target: serve(session, target, {}))
    session.rounds(
        Row("groups", f"{name}, x-message-groups", METRICS),
        lambda target: serve(session, target, GROUPS),
        [session.subject],
    )


def serve(session: Session, target: Target, arguments: dict[str, Argument]) -> Values:
    """Fill the queue, and take everything: return at which delivery, and after how many milliseconds, the last message
    of a small group came.
    """
    client = Client(target.address)
    total = LARGE + SMALL_GROUPS * SMALL
    try:
        client.delete_queue(QUEUE)
        client.declare_queue(QUEUE, durable=True, arguments=arguments)
        with session.reporter.running(f"publish · {target.name}", total):
            for step in _messages(client.frame_max):
                client.sock.sendall(step)
            _await_stored(client, total)
        rss = target.rss() or 0
        with session.reporter.running(f"consume · {target.name}", total):
            return {**_take_all(client, total), "rss_mib": rss / MIB}
    finally:
        client.delete_queue(QUEUE)
        client.close()


def _messages(frame_max: int) -> Iterator[bytes]:
    """Yield the large group's messages, then those of the small ones, one of each in turn."""

    def message(group: str, mark: bytes) -> bytes:
        octets = publish("", QUEUE, SIZE, persistent=True, frame_max=frame_max, headers={"x-group-id": group})
        return octets[:-2] + mark + octets[-1:]

    large = message("large", b"L") * 100
    for _ in range(LARGE // 100):
        yield large
    yield b"".join(message(f"small {number}", b"S") for number in range(SMALL_GROUPS)) * SMALL


def _await_stored(client: Client, total: int) -> None:
    until = time.monotonic() + STORED_IN
    while client.declare_queue(QUEUE, passive=True) < total:
        if time.monotonic() > until:
            raise PeerFault(f"not all messages are in the queue after {STORED_IN:.0f} s")
        time.sleep(0.1)


def _take_all(client: Client, total: int) -> Values:
    started = time.monotonic()
    client.consume(QUEUE, no_ack=False, prefetch=PREFETCH)
    last_at, last_ms, small = 0, 0.0, 0
    for number in range(1, total + 1):
        tag, body = client.take_delivery()
        if body[-1:] == b"S":
            small += 1
            last_at, last_ms = number, 1000 * (time.monotonic() - started)
        client.sock.sendall(ack(tag, multiple=False))
    if small != SMALL_GROUPS * SMALL:
        raise PeerFault(f"{small} messages of small groups came")
    return {"last_small_at": last_at, "last_small_ms": last_ms, "rate": total / (time.monotonic() - started)}
