"""The checker: what clients saw of a broker, and which promises it broke.

Knows events and what docs/invariants.md says of them; must not know a client, a socket or a clock.
An exception in a client is `INFO`: nobody knows whether the broker acted. `FAIL` means the broker said no.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from math import inf
from types import MappingProxyType

from tests.support.events import Copy, Event, Fault, FaultKind, Op, Outcome, QueueRules
from tests.support.history_deaths import deaths, may_have_died
from tests.support.history_view import View


def check(
    history: Iterable[Event],
    rules: Mapping[str, QueueRules] = MappingProxyType({}),
    *,
    ack_grace: float = 1.0,
    confirm_deadline: float = 30.0,
    clock_error: float = 0.05,
    expiry_grace: float = 3.0,
    may_come_late: bool = False,
) -> list[Fault]:
    """Return every broken promise of a history that ends with all queues drained; `rules` are those of its queues.

    An acknowledgement is final when its connection and the broker outlived it by `ack_grace`, or at once in a
    transaction whose commit was answered. A publish on a channel still open after `confirm_deadline` must have its
    confirm. A message may be taken to be `clock_error` older than it is, and be delivered `expiry_grace` after its end:
    so long it may be on its way to the client, or its node may stand still. It `may_come_late` in a cluster, behind
    newer ones, and counts as delivered once for that.
    """
    view = View(history, rules, ack_grace, may_come_late=may_come_late)
    faults = list(_torn_transactions(view))
    torn = {(fault.queue, fault.key) for fault in faults}
    others = (
        *_lost(view),
        *_phantoms(view),
        *_repeated(view),
        *_reordered(view),
        *_confirms(view, confirm_deadline),
        *_overdelivered(view),
        *deaths(view, clock_error, expiry_grace),
    )
    return faults + [fault for fault in others if (fault.queue, fault.key) not in torn]


def _lost(view: View) -> Iterator[Fault]:
    for key, publish in view.published.items():
        if not publish.persistent or key in view.returned or not view.is_confirmed(key, publish):
            continue
        for queue in publish.queues:
            if view.is_settled(queue, key):
                continue
            died = may_have_died(view, queue, key)
            if died and view.rules[queue].dead_letter_queue:
                yield Fault(FaultKind.LETTER_LOST, queue, key, "confirmed, then neither in its queue nor a dead letter")
            elif not died:
                yield Fault(FaultKind.LOST, queue, key, "confirmed, then neither settled nor drained")


def _phantoms(view: View) -> Iterator[Fault]:
    for (place, key), deliveries in view.deliveries.items():
        publish, queue = view.published.get(key), place
        if place in view.dead_letter_queues:
            queue = next((delivery.death[0] for delivery in deliveries if delivery.death), place)
            if not all(delivery.death and view.letters_go(delivery.death[0], place) for delivery in deliveries):
                yield Fault(FaultKind.PHANTOM, place, key, f"a dead letter that died nowhere: {deliveries[0].death}")
                continue
        if publish is None:
            yield Fault(FaultKind.PHANTOM, queue, key, "delivered but never published")
        elif queue not in publish.queues or key in view.returned:
            yield Fault(FaultKind.PHANTOM, queue, key, "delivered from a queue it was not routed to")
        elif view.outcome(publish) is Outcome.FAIL:
            yield Fault(FaultKind.PHANTOM, queue, key, "delivered although its transaction was rolled back")
        elif any(confirm.type is Outcome.FAIL for confirm in view.confirms.get(key, ())):
            yield Fault(FaultKind.NACK_APPEARED, queue, key, "refused with basic.nack, then delivered")


def _repeated(view: View) -> Iterator[Fault]:
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
            elif not view.has_cause(previous, sent, requeued):
                yield Fault(FaultKind.UNPROVOKED, queue, key, f"still held by {previous.channel}")


def _reordered(view: View) -> Iterator[Fault]:
    """First deliveries of one publisher to one consumer rise; a drain shows the queue's own order (invariant I31
    to I33)."""
    last: dict[tuple[str, str, str], int] = defaultdict(int)
    for event in view.events:
        if event.key is None or not (event.op is Op.DRAIN or (event.op is Op.DELIVER and not event.redelivered)):
            continue
        if event.queue in view.dead_letter_queues:
            continue  # they come in the order of their deaths
        publisher, number = event.key
        line = (publisher, event.queue, event.channel)
        if number < last[line]:
            yield Fault(FaultKind.REORDERED, event.queue, event.key, f"{event.channel} had {last[line]} before")
        last[line] = max(number, last[line])


def _confirms(view: View, deadline: float) -> Iterator[Fault]:
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


def _overdelivered(view: View) -> Iterator[Fault]:
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


def _torn_transactions(view: View) -> Iterator[Fault]:
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


def _effects(view: View, event: Event) -> Iterator[tuple[Copy, bool]]:
    if event.key is None:
        return
    if event.op is Op.PUBLISH:
        for queue in event.queues:
            copy = (queue, event.key)
            if view.deliveries.get(copy) or view.letters.get(copy):
                yield copy, True
            elif not may_have_died(view, *copy):
                yield copy, False
    elif event.op in (Op.ACK, Op.REJECT) and not view.becomes_letter(event):
        copy = (event.queue, event.key)
        yield copy, all(view.sent_by(again) <= event.t_inv for again in view.deliveries.get(copy, ()))
