"""Writes histories for the tests of the checker, event by event."""

from __future__ import annotations

from tests.support.history import Event, Fault, FaultKind, Key, Op, Outcome, check


class Story:
    """Writes histories: every step is one event, `step` seconds after the one before."""

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

    def drain(self, key: Key, *, redelivered: bool = False, queue: str = "q") -> None:
        self.add(Op.DRAIN, "drain/1", key=key, queue=queue, redelivered=redelivered)

    def close(self, channel: str, kind: Outcome = Outcome.INFO) -> None:
        self.add(Op.CLOSE, channel, type=kind)

    def faults(self) -> list[Fault]:
        return check(self.events)

    def kinds(self) -> set[FaultKind]:
        return {fault.kind for fault in self.faults()}


def settled_message(story: Story, number: int = 1) -> Key:
    key = story.publish(number)
    story.confirm(key)
    story.settle(story.deliver(key))
    return key
