"""The checker: what clients saw of a broker, and which promises it broke.

Knows events and what docs/invariants.md says of them; must not know a client, a socket or a clock.
An exception in a client is `INFO`: nobody knows whether the broker acted. `FAIL` means the broker said no.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import pairwise
from math import inf
from pathlib import Path

Key = tuple[str, int]
Copy = tuple[str, Key]


class Op(StrEnum):
    OPEN = "open"
    CLOSE = "close"
    CONSUME = "consume"
    PUBLISH = "publish"
    CONFIRM = "confirm"
    RETURN = "return"
    DELIVER = "deliver"
    DRAIN = "drain"
    ACK = "ack"
    REJECT = "reject"
    REQUEUE = "requeue"
    COMMIT = "commit"
    KILL = "kill"


class Outcome(StrEnum):
    OK = "ok"
    FAIL = "fail"
    INFO = "info"


class FaultKind(StrEnum):
    LOST = "lost"
    PHANTOM = "phantom"
    RESURRECTED = "resurrected"
    DUPLICATED_UNFLAGGED = "duplicated_unflagged"
    UNPROVOKED = "unprovoked"
    REORDERED = "reordered"
    DOUBLE_CONFIRM = "double_confirm"
    NACK_APPEARED = "nack_appeared"
    TX_PARTIAL = "tx_partial"
    MISSING_CONFIRM = "missing_confirm"
    OVERDELIVERY = "overdelivery"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing a client did or saw, between `t_inv` and `t_ret` of one monotonic clock.

    `channel` names one incarnation of a channel. `DRAIN` is the delivery to the only consumer of a quiet queue, which
    settles the message. `CLOSE` is `OK` when the client asked for it with nothing left to wait for, else `INFO`.
    `COMMIT` is `FAIL` for a rollback. `queues` of a publish is where its message must arrive.
    """

    t_inv: float
    t_ret: float
    process: str
    op: Op
    type: Outcome = Outcome.OK
    channel: str = ""
    queue: str = ""
    key: Key | None = None
    tag: int = 0
    redelivered: bool = False
    queues: tuple[str, ...] = ()
    persistent: bool = True
    prefetch: int = 0
    transaction: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """One broken promise."""

    kind: FaultKind
    queue: str
    key: Key | None
    detail: str


def write_jsonl(history: Iterable[Event], path: Path) -> None:
    """Store a history as one JSON object a line."""
    with path.open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(asdict(event), separators=(",", ":")) + "\n" for event in history)


def read_jsonl(path: Path) -> list[Event]:
    """Read back what `write_jsonl` stored."""
    return [_from_json(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def _from_json(fields: dict[str, object]) -> Event:
    key, queues = fields.pop("key"), fields.pop("queues")
    op, outcome = Op(str(fields.pop("op"))), Outcome(str(fields.pop("type")))
    return Event(op=op, type=outcome, key=tuple(key) if key else None, queues=tuple(queues), **fields)  # type: ignore[arg-type]


def check(history: Iterable[Event], *, ack_grace: float = 1.0, confirm_deadline: float = 30.0) -> list[Fault]:
    """Return every broken promise of a history that ends with all queues drained.

    An acknowledgement is final when its connection and the broker outlived it by `ack_grace`, or at once in a
    transaction whose commit was answered. A publish on a channel still open after `confirm_deadline` must have its
    confirm.
    """
    view = _View(history, ack_grace)
    faults = list(_torn_transactions(view))
    torn = {(fault.queue, fault.key) for fault in faults}
    others = (
        *_lost(view),
        *_phantoms(view),
        *_repeated(view),
        *_reordered(view),
        *_confirms(view, confirm_deadline),
        *_overdelivered(view),
    )
    return faults + [fault for fault in others if (fault.queue, fault.key) not in torn]


class _View:
    """A history indexed by what the checks ask for."""

    def __init__(self, history: Iterable[Event], ack_grace: float) -> None:
        self.events = sorted(history, key=lambda event: event.t_inv)
        self.ack_grace = ack_grace
        self.end = max((event.t_ret for event in self.events), default=0.0)
        self.kills = [event.t_ret for event in self.events if event.op is Op.KILL]
        self.opened = {event.channel: event.t_ret for event in self.events if event.op is Op.OPEN}
        self.closes = {event.channel: event for event in self.events if event.op is Op.CLOSE}
        self.commits = {event.transaction: event for event in self.events if event.op is Op.COMMIT}
        self.returned = {event.key for event in self.events if event.op is Op.RETURN}
        self.published: dict[Key, Event] = {}
        self.confirms: dict[Key, list[Event]] = defaultdict(list)
        self.deliveries: dict[Copy, list[Event]] = defaultdict(list)
        self.settled: dict[Copy, list[Event]] = defaultdict(list)
        self.requeued: dict[Copy, list[float]] = defaultdict(list)
        for event in self.events:
            if event.key is not None:
                self._index(event, event.key)
        for deliveries in self.deliveries.values():
            deliveries.sort(key=lambda event: (self.sent_by(event), event.redelivered))

    def _index(self, event: Event, key: Key) -> None:
        copy = (event.queue, key)
        if event.op is Op.PUBLISH and event.type is not Outcome.FAIL:
            self.published[key] = event
        elif event.op is Op.CONFIRM:
            self.confirms[key].append(event)
        elif event.op in (Op.ACK, Op.REJECT):
            self.settled[copy].append(event)
        elif event.op is Op.REQUEUE:
            self.requeued[copy].append(event.t_inv)
        elif event.op in (Op.DELIVER, Op.DRAIN):
            self.deliveries[copy].append(event)

    def sent_by(self, delivery: Event) -> float:
        """When the broker had sent it: what a client reads from its socket after a kill was sent before the kill."""
        kill = bisect_left(self.kills, self.opened.get(delivery.channel, inf))
        return min(delivery.t_ret, self.kills[kill]) if kill < len(self.kills) else delivery.t_ret

    def killed_between(self, start: float, stop: float) -> bool:
        kill = bisect_left(self.kills, start)
        return kill < len(self.kills) and self.kills[kill] <= stop

    def outcome(self, event: Event) -> Outcome:
        """What is known of the transaction the event belongs to; `OK` outside of one."""
        if not event.transaction:
            return Outcome.OK
        commit = self.commits.get(event.transaction)
        return commit.type if commit else Outcome.FAIL

    def is_confirmed(self, key: Key, publish: Event) -> bool:
        if publish.transaction:
            return self.outcome(publish) is Outcome.OK
        return any(confirm.type is Outcome.OK for confirm in self.confirms.get(key, ()))

    def final_from(self, settle: Event) -> float:
        """The time from which this acknowledgement is final; infinite when it may have been lost on the way."""
        if settle.transaction:
            commit = self.commits.get(settle.transaction)
            return commit.t_ret if commit and commit.type is Outcome.OK else inf
        due = settle.t_ret + self.ack_grace
        close = self.closes.get(settle.channel)
        died = close is not None and close.type is not Outcome.OK and close.t_inv <= due
        return inf if died or self.killed_between(settle.t_inv, due) else settle.t_ret


def _lost(view: _View) -> Iterator[Fault]:
    for key, publish in view.published.items():
        if not publish.persistent or key in view.returned or not view.is_confirmed(key, publish):
            continue
        for queue in publish.queues:
            drained = any(delivery.op is Op.DRAIN for delivery in view.deliveries.get((queue, key), ()))
            settles = view.settled.get((queue, key), ())
            if not drained and all(view.outcome(settle) is Outcome.FAIL for settle in settles):
                yield Fault(FaultKind.LOST, queue, key, "confirmed, then neither settled nor drained")


def _phantoms(view: _View) -> Iterator[Fault]:
    for queue, key in view.deliveries:
        publish = view.published.get(key)
        if publish is None:
            yield Fault(FaultKind.PHANTOM, queue, key, "delivered but never published")
        elif queue not in publish.queues or key in view.returned:
            yield Fault(FaultKind.PHANTOM, queue, key, "delivered from a queue it was not routed to")
        elif view.outcome(publish) is Outcome.FAIL:
            yield Fault(FaultKind.PHANTOM, queue, key, "delivered although its transaction was rolled back")
        elif any(confirm.type is Outcome.FAIL for confirm in view.confirms.get(key, ())):
            yield Fault(FaultKind.NACK_APPEARED, queue, key, "refused with basic.nack, then delivered")


def _repeated(view: _View) -> Iterator[Fault]:
    """Judge every delivery of a copy but its first."""
    for (queue, key), deliveries in view.deliveries.items():
        final = min((view.final_from(settle) for settle in view.settled.get((queue, key), ())), default=inf)
        requeued = view.requeued.get((queue, key), ())
        for previous, again in pairwise(deliveries):
            sent = view.sent_by(again)
            if sent > final:
                yield Fault(FaultKind.RESURRECTED, queue, key, f"settled at {final:.3f}, delivered at {sent:.3f}")
            elif not again.redelivered:
                yield Fault(FaultKind.DUPLICATED_UNFLAGGED, queue, key, f"{previous.channel}, then {again.channel}")
            elif not _has_cause(view, previous, sent, requeued):
                yield Fault(FaultKind.UNPROVOKED, queue, key, f"still held by {previous.channel}")


def _has_cause(view: _View, previous: Event, until: float, requeued: Iterable[float]) -> bool:
    close = view.closes.get(previous.channel)
    since = view.sent_by(previous)
    closed = close is not None and close.t_inv <= until
    return closed or view.killed_between(since, until) or any(since <= at <= until for at in requeued)


def _reordered(view: _View) -> Iterator[Fault]:
    """First deliveries of one publisher to one consumer rise; a drain shows the queue's own order (invariant I31
    to I33)."""
    last: dict[tuple[str, str, str], int] = defaultdict(int)
    for event in view.events:
        if event.key is None or not (event.op is Op.DRAIN or (event.op is Op.DELIVER and not event.redelivered)):
            continue
        publisher, number = event.key
        line = (publisher, event.queue, event.channel)
        if number < last[line]:
            yield Fault(FaultKind.REORDERED, event.queue, event.key, f"{event.channel} had {last[line]} before")
        last[line] = max(number, last[line])


def _confirms(view: _View, deadline: float) -> Iterator[Fault]:
    for key, confirms in view.confirms.items():
        if len(confirms) > 1:
            yield Fault(FaultKind.DOUBLE_CONFIRM, "", key, f"confirmed {len(confirms)} times")
    for key, publish in view.published.items():
        if publish.transaction or key in view.confirms or publish.type is not Outcome.OK:
            continue
        close = view.closes.get(publish.channel)
        overdue = view.end - publish.t_inv > deadline if close is None else close.type is Outcome.OK
        if overdue:
            yield Fault(FaultKind.MISSING_CONFIRM, "", key, f"{publish.channel} stayed open without an answer")


def _overdelivered(view: _View) -> Iterator[Fault]:
    prefetch: dict[str, int] = {}
    held: dict[str, set[int]] = defaultdict(set)
    for event in view.events:
        if event.op is Op.CONSUME:
            prefetch[event.channel] = event.prefetch
        elif event.op in (Op.ACK, Op.REJECT, Op.REQUEUE):
            held[event.channel].discard(event.tag)
        elif event.op is Op.DELIVER:
            held[event.channel].add(event.tag)
            limit = prefetch.get(event.channel, 0)
            if limit and len(held[event.channel]) > limit:
                yield Fault(
                    FaultKind.OVERDELIVERY, event.queue, event.key, f"{len(held[event.channel])} of {limit} held"
                )


def _torn_transactions(view: _View) -> Iterator[Fault]:
    """A commit that was answered, or whose answer is unknown, shows all of its effects or none (invariant I41)."""
    members: dict[str, list[Event]] = defaultdict(list)
    for event in view.events:
        if event.transaction and event.op is not Op.COMMIT and view.outcome(event) is not Outcome.FAIL:
            members[event.transaction].append(event)
    for transaction, events in members.items():
        effects = [effect for event in events for effect in _effects(view, event)]
        if len({happened for _, happened in effects}) > 1:
            for (queue, key), happened in effects:
                yield Fault(FaultKind.TX_PARTIAL, queue, key, f"{transaction}: {'done' if happened else 'not done'}")


def _effects(view: _View, event: Event) -> Iterator[tuple[Copy, bool]]:
    if event.key is None:
        return
    if event.op is Op.PUBLISH:
        for queue in event.queues:
            yield (queue, event.key), (queue, event.key) in view.deliveries
    elif event.op in (Op.ACK, Op.REJECT):
        copy = (event.queue, event.key)
        yield copy, all(view.sent_by(again) <= event.t_inv for again in view.deliveries.get(copy, ()))
