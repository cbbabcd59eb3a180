"""Writes histories for the tests of the checker, event by event."""

from __future__ import annotations

from tests.support.events import Event, Fault, FaultKind, Key, Op, Outcome, QueueRules
from tests.support.history import check

TTL, LENGTH, LIMIT = 60.0, 3, 2
RULES = {
    "ttl": QueueRules(dead_letter_queue="dead", message_ttl=TTL),
    "length": QueueRules(dead_letter_queue="dead", max_length=LENGTH),
    "limit": QueueRules(dead_letter_queue="dead", delivery_limit=LIMIT),
    "plain": QueueRules(dead_letter_queue="dead"),
    "brief": QueueRules(message_ttl=TTL),
}


class Story:
    """Writes histories: every step is one event, `step` seconds after the one before. Queues have the rules of `RULES`,
    those that are not there have none.
    """

    def __init__(self, step: float = 2.0) -> None:
        self.events: list[Event] = []
        self.now = 0.0
        self._step = step
        self._tags: dict[str, int] = {}

    def add(self, op: Op, channel: str, **fields: object) -> Event:
        self.now += self._step
        process = channel.partition("/")[0]
        event = Event(t_inv=self.now, t_ret=self.now, process=process, op=op, channel=channel, **fields)  # type: ignore[arg-type]
        self.events.append(event)
        return event

    def publish(self, number: int, *queues: str, channel: str = "p/1", **fields: object) -> Key:
        key = (channel.partition("/")[0], number)
        self.add(Op.PUBLISH, channel, key=key, queues=queues or ("q",), **fields)
        return key

    def confirm(self, key: Key, kind: Outcome = Outcome.OK) -> None:
        self.add(Op.CONFIRM, f"{key[0]}/1", key=key, type=kind)

    def deliver(self, key: Key, *, redelivered: bool = False, channel: str = "c/1", queue: str = "q") -> Event:
        tag = self._tags[channel] = self._tags.get(channel, 0) + 1
        return self.add(Op.DELIVER, channel, key=key, queue=queue, tag=tag, redelivered=redelivered)

    def settle(self, delivery: Event, op: Op = Op.ACK, **fields: object) -> None:
        self.add(op, delivery.channel, key=delivery.key, queue=delivery.queue, tag=delivery.tag, **fields)

    def drain(self, key: Key, *, redelivered: bool = False, queue: str = "q", **fields: object) -> None:
        self.add(Op.DRAIN, "drain/1", key=key, queue=queue, redelivered=redelivered, **fields)

    def letter(self, key: Key, queue: str, reason: str, **fields: object) -> None:
        """Drain the dead letter of a message that died in `queue`."""
        self.drain(key, queue="dead", death=(queue, reason), **fields)  # type: ignore[arg-type]

    def give_back(self, key: Key, queue: str, times: int) -> None:
        """Deliver a message and give it back, again and again."""
        for number in range(times):
            self.settle(self.deliver(key, queue=queue, redelivered=number > 0), Op.REQUEUE)

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def close(self, channel: str, kind: Outcome = Outcome.INFO) -> None:
        self.add(Op.CLOSE, channel, type=kind)

    def faults(self) -> list[Fault]:
        return check(self.events, RULES)

    def kinds(self) -> set[FaultKind]:
        return {fault.kind for fault in self.faults()}


def settled_message(story: Story, number: int = 1) -> Key:
    key = story.publish(number)
    story.confirm(key)
    story.settle(story.deliver(key))
    return key
