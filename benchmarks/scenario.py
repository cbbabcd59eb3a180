"""Scenarios of load: the shape of one measurement, and the names and messages it needs. Pure: does no I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.frames import KEY_DIGITS, KEY_HEADER, Argument, key_offset, publish

# Limits on what one run publishes, however fast the broker is.
MAX_BYTES = 1 << 30
MAX_MESSAGES = 5_000_000
BATCH_BYTES = 256 * 1024
TOPIC_KEYS = 1_000


@dataclass(frozen=True, slots=True)
class Scenario:
    """One shape of load; a `rate` of 0 means no limit, an `ack_every` of 0 means automatic acknowledgement.

    With `requeues` and an `ack_every` of 1 each delivery is given back. `arguments` are those of the queues. Messages
    have the priorities from 1 to `priorities` in turn, and `expiration`, if these are set. With `dead_letters`
    consumers get what each queue's dead-letter queue gets. With `publishes_of_key` messages have keys of
    de-duplication, each of which is published so many times in a row; `headers` they all have. `wishes` are the
    arguments of consumers, of one after the other.
    """

    name: str
    size: int = 100
    publishers: int = 1
    consumers: int = 1
    queues: int = 1
    exchange: str = ""
    bindings: int = 0
    persistent: bool = False
    confirm_window: int = 0
    ack_every: int = 0
    requeues: bool = False
    prefetch: int = 0
    rate: int = 0
    count: int = 0
    seconds: float = 4.0
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    priorities: int = 0
    expiration: str = ""
    dead_letters: bool = False
    publishes_of_key: int = 0
    headers: Mapping[str, Argument] = field(default_factory=dict)
    wishes: Sequence[Mapping[str, Argument]] = ()

    @property
    def copies(self) -> int:
        """How many queues one published message reaches."""
        return self.queues if self.exchange == "fanout" else 1

    @property
    def limit(self) -> int:
        """How many messages one publisher may send at most."""
        if self.count:
            return self.count
        bound = min(MAX_BYTES // max(1, self.size), MAX_MESSAGES) // self.publishers // self.copies
        return max(1, min(bound, int(self.rate * self.seconds) if self.rate else bound))

    @property
    def exchange_name(self) -> str:
        """The exchange to publish to; empty for the default exchange."""
        return f"bench.{self.exchange}" if self.exchange else ""

    def queue_name(self, number: int) -> str:
        """Return the name of a queue. All names of a scenario have the same length, so that its frames do too."""
        return f"bench.queue.{number:05d}"

    def dead_letter_queue_name(self, number: int) -> str:
        """Return the name of the queue that gets the dead letters of another."""
        return f"bench.dead.{number:05d}"

    def consumed_queue_name(self, number: int) -> str:
        """Return the name of the queue that a consumer of this number consumes."""
        return self.dead_letter_queue_name(number) if self.dead_letters else self.queue_name(number)

    def arguments_of(self, number: int) -> Mapping[str, Argument]:
        """Return the arguments of a queue."""
        if not self.dead_letters:
            return self.arguments
        letters = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": self.dead_letter_queue_name(number)}
        return {**letters, **self.arguments}

    def wish_of(self, consumer: int) -> Mapping[str, Argument]:
        """Return the arguments of a consumer."""
        return self.wishes[consumer % len(self.wishes)] if self.wishes else {}

    def bindings_of_queues(self) -> list[tuple[str, str]]:
        """Return the (queue, key) pairs to bind; a topic scenario spreads its patterns over its queues."""
        if self.exchange == "fanout":
            return [(self.queue_name(number), "") for number in range(self.queues)]
        if self.exchange == "topic":
            return [(self.queue_name(i % self.queues), f"site.{i:06d}.*.read") for i in range(self.bindings)]
        return []

    def routing_keys(self, publisher: int) -> list[str]:
        """Return the keys that one publisher uses in turn."""
        if self.exchange == "fanout":
            return ["any"]
        if self.exchange == "topic":
            step = max(1, self.bindings // TOPIC_KEYS)
            return [f"site.{i:06d}.meter.read" for i in range(0, self.bindings, step)]
        own = range(publisher % self.queues, self.queues, self.publishers)
        return [self.queue_name(number) for number in own]


@dataclass(frozen=True, slots=True)
class Batch:
    """Encoded publishes of equal length, which can be sent any number of times."""

    frames: bytes
    length: int
    count: int

    def with_keys(self, at: int, count: int, first: int, publishes_of_key: int) -> bytes:
        """Return `count` messages from the one at `at` on, with new keys; `first` is the number of the first one."""
        buffer = bytearray(self.frames[at * self.length : (at + count) * self.length])
        offset = key_offset(self.frames)
        for number in range(count):
            start = number * self.length + offset
            buffer[start : start + KEY_DIGITS] = b"%0*d" % (KEY_DIGITS, (first + number) // publishes_of_key)
        return bytes(buffer)


def encode_batch(scenario: Scenario, publisher: int, frame_max: int) -> Batch:
    """Encode as many messages as fill a buffer, each key equally often."""
    keys = scenario.routing_keys(publisher)
    headers = {**scenario.headers, **({KEY_HEADER: "0" * KEY_DIGITS} if scenario.publishes_of_key else {})}
    messages = [
        publish(
            scenario.exchange_name,
            key,
            scenario.size,
            persistent=scenario.persistent,
            frame_max=frame_max,
            priority=priority,
            expiration=scenario.expiration,
            headers=headers,
        )
        for key in keys
        for priority in (range(1, scenario.priorities + 1) if scenario.priorities else (0,))
    ]
    length = len(messages[0])
    if any(len(message) != length for message in messages):
        raise ValueError(f"messages of '{scenario.name}' differ in length")
    times = max(1, BATCH_BYTES // (length * len(messages)))
    return Batch(b"".join(messages) * times, length, len(messages) * times)
