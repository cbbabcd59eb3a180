"""A history indexed by what the checks ask for."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping
from math import inf

from tests.support.events import Copy, Event, Key, Op, Outcome, QueueRules


class View:
    """A history indexed by what the checks ask for."""

    def __init__(
        self,
        history: Iterable[Event],
        rules: Mapping[str, QueueRules],
        ack_grace: float,
        *,
        may_come_late: bool = False,
    ) -> None:
        self.rules = rules
        self.dead_letter_queues = {each.dead_letter_queue for each in rules.values()} - {""}
        if both := self.dead_letter_queues & rules.keys():
            raise ValueError(f"queues of dead letters with rules of their own: {both}")
        self.events = sorted(history, key=lambda event: event.t_inv)
        self.ack_grace = ack_grace
        self.may_come_late = may_come_late
        self.end = max((event.t_ret for event in self.events), default=0.0)
        self.kills = [event.t_ret for event in self.events if event.op is Op.KILL]
        self.ends = [event for event in self.events if event.op in (Op.KILL, Op.NODE_ENDED)]
        self.opened = {event.channel: event.t_ret for event in self.events if event.op is Op.OPEN}
        self.closes = {event.channel: event for event in self.events if event.op is Op.CLOSE}
        self.commits = {event.transaction: event for event in self.events if event.op is Op.COMMIT}
        self.returned = {event.key for event in self.events if event.op is Op.RETURN}
        self.published: dict[Key, Event] = {}
        self.confirms: dict[Key, list[Event]] = defaultdict(list)
        self.deliveries: dict[Copy, list[Event]] = defaultdict(list)
        self.settled: dict[Copy, list[Event]] = defaultdict(list)
        self.requeued: dict[Copy, list[float]] = defaultdict(list)
        self.rejected: dict[Copy, list[float]] = defaultdict(list)
        self.letters: dict[Copy, list[Event]] = defaultdict(list)
        """Deliveries of dead letters, by the queue and the message that they say they were."""
        self.endings: dict[str, list[float]] = defaultdict(list)
        """When channels were closed that had a consumer, by its queue."""
        for event in self.events:
            if event.key is not None:
                self._index(event, event.key)
            elif event.op is Op.CONSUME and event.channel in self.closes:
                self.endings[event.queue].append(self.closes[event.channel].t_inv)
        for deliveries in (*self.deliveries.values(), *self.letters.values()):
            deliveries.sort(key=lambda event: (self.sent_by(event), event.redelivered))

    def _index(self, event: Event, key: Key) -> None:
        copy = (event.queue, key)
        if event.op is Op.PUBLISH and event.type is not Outcome.FAIL:
            self.published[key] = event
        elif event.op is Op.CONFIRM:
            self.confirms[key].append(event)
        elif event.op in (Op.ACK, Op.REJECT):
            self.settled[copy].append(event)
            if event.op is Op.REJECT:
                self.rejected[copy].append(event.t_inv)
        elif event.op is Op.REQUEUE:
            self.requeued[copy].append(event.t_inv)
        elif event.op in (Op.DELIVER, Op.DRAIN):
            self.deliveries[copy].append(event)
            if event.death is not None and self.letters_go(event.death[0], event.queue):
                self.letters[event.death[0], key].append(event)

    def letters_go(self, queue: str, dead_letter_queue: str) -> bool:
        """Do messages that die in `queue` go there?"""
        rules = self.rules.get(queue)
        return rules is not None and rules.dead_letter_queue == dead_letter_queue

    def becomes_letter(self, settle: Event) -> bool:
        """Does this settlement lead to a dead letter?"""
        rules = self.rules.get(settle.queue)
        return settle.op is Op.REJECT and rules is not None and bool(rules.dead_letter_queue)

    def sent_by(self, delivery: Event) -> float:
        """When the broker had sent it: what a client reads from its socket after a kill was sent before the kill."""
        kill = bisect_left(self.kills, self.opened.get(delivery.channel, inf))
        return min(delivery.t_ret, self.kills[kill]) if kill < len(self.kills) else delivery.t_ret

    def killed_between(self, start: float, stop: float) -> bool:
        kill = bisect_left(self.kills, start)
        return kill < len(self.kills) and self.kills[kill] <= stop

    def has_cause(self, previous: Event, until: float, given_up: Iterable[float]) -> bool:
        """Is there a reason why the message of this delivery left its client until then?"""
        close = self.closes.get(previous.channel)
        since = self.sent_by(previous)
        closed = close is not None and close.t_inv <= until
        return closed or self.killed_between(since, until) or any(since <= at <= until for at in given_up)

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
        # A letter waits for those before it.
        due = settle.t_ret + self.ack_grace * (5 if self.becomes_letter(settle) else 1)
        close = self.closes.get(settle.channel)
        died = close is not None and close.type is not Outcome.OK and close.t_inv <= due
        return inf if died or self.killed_between(settle.t_inv, due) else settle.t_ret

    def is_settled(self, queue: str, key: Key) -> bool:
        """May the message have left the queue for good, and its dead letter too, if it became one?"""
        if any(delivery.op is Op.DRAIN for delivery in self.deliveries.get((queue, key), ())):
            return True
        settles = [settle for settle in self.settled.get((queue, key), ()) if self.outcome(settle) is not Outcome.FAIL]
        if not all(map(self.becomes_letter, settles)):
            return True
        return bool(self.letters.get((queue, key))) and self.is_settled(self.rules[queue].dead_letter_queue, key)

    def most_returns(self, queue: str, key: Key, until: float) -> int:
        """Return how often the message can have been given back until then.

        Each end of a consumer gives back what was on the way to it, also what came before the broker had noticed; after
        each end of a node anything that is stored may have been delivered (ADR 42).
        """
        since = self.published[key].t_inv
        asked = sum(at <= until for at in self.requeued.get((queue, key), ()))
        closed = sum(since - self.ack_grace <= at <= until for at in self.endings.get(queue, ()))
        return (
            int(self.may_come_late)
            + asked
            + closed
            + sum(since <= end.t_ret and end.t_inv <= until for end in self.ends)
        )
