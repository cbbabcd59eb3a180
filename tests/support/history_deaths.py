"""What the checker knows of messages that die: when and why they may, and that each is in one place (ADR 41).

A message is in its queue, in the queue of its dead letters, or settled. Of what leaves a queue without dead letters
only the queue's rules say whether it may have.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from tests.support.events import Event, Fault, FaultKind, Key, Op, QueueRules
from tests.support.history_view import View

CLOCK_RATE = 0.01
"""By how much a node's clock may go faster than the store's (ADR 46)."""


def deaths(view: View, clock_error: float, expiry_grace: float) -> Iterator[Fault]:
    """Return the broken promises about dead letters, times to live, delivery limits and lengths."""
    for (queue, key), letters in view.letters.items():
        if key in view.published:
            yield from _impossible(view, queue, key, letters)
            yield from _early(view, queue, key, letters, clock_error)
            yield from _in_two_places(view, queue, key, letters)
    for (queue, key), deliveries in view.deliveries.items():
        if key in view.published and queue in view.rules:
            yield from _delivered_expired(view, queue, key, deliveries, expiry_grace)
            yield from _over_limit(view, queue, key, deliveries)
    yield from _over_length(view)


def may_have_died(view: View, queue: str, key: Key) -> bool:
    """May the message have left the queue as dead, by the rules and what clients did?"""
    rules = view.rules.get(queue, QueueRules())
    if rules.max_length is not None or (rules.dead_letter_queue and view.rejected.get((queue, key))):
        return True
    if rules.message_ttl is not None and view.published[key].t_inv + rules.message_ttl <= view.end:
        return True
    return rules.delivery_limit is not None and view.most_returns(queue, key, view.end) > rules.delivery_limit


def _impossible(view: View, queue: str, key: Key, letters: list[Event]) -> Iterator[Fault]:
    rules, seen = view.rules[queue], letters[0].t_ret
    for reason in {letter.death[1] for letter in letters if letter.death}:
        limit = rules.delivery_limit
        is_possible = {
            "rejected": any(at <= seen for at in view.rejected.get((queue, key), ())),
            "expired": rules.message_ttl is not None,
            "maxlen": rules.max_length is not None,
            "delivery_limit": limit is not None and view.most_returns(queue, key, seen) > limit,
        }
        if not is_possible.get(reason, False):
            yield Fault(FaultKind.IMPOSSIBLE_DEATH, queue, key, f"died of {reason!r}")


def _early(view: View, queue: str, key: Key, letters: list[Event], clock_error: float) -> Iterator[Fault]:
    ttl = view.rules[queue].message_ttl
    first = min((letter.t_inv for letter in letters if letter.death and letter.death[1] == "expired"), default=inf)
    if ttl is not None and first < view.published[key].t_inv + ttl * (1 - CLOCK_RATE) - clock_error:
        lived = first - view.published[key].t_inv
        yield Fault(FaultKind.EXPIRED_EARLY, queue, key, f"expired after {lived:.3f} s, not {ttl} s")


def _in_two_places(view: View, queue: str, key: Key, letters: list[Event]) -> Iterator[Fault]:
    """A message has left its queue for good when its dead letter is delivered, and before that nobody held it."""
    moved, own = view.sent_by(letters[0]), view.deliveries.get((queue, key), [])
    acks = [settle for settle in view.settled.get((queue, key), ()) if settle.op is Op.ACK]
    before = [delivery for delivery in own if view.sent_by(delivery) <= moved]
    given_up = [*view.requeued.get((queue, key), ()), *view.rejected.get((queue, key), ())]
    if len(before) < len(own):
        sent = view.sent_by(own[len(before)])
        yield Fault(FaultKind.TWO_PLACES, queue, key, f"a dead letter at {moved:.3f}, in its queue at {sent:.3f}")
    elif (final := min(map(view.final_from, acks), default=inf)) < moved:
        yield Fault(FaultKind.TWO_PLACES, queue, key, f"acknowledged at {final:.3f}, a dead letter at {moved:.3f}")
    elif before and not view.has_cause(before[-1], moved, given_up):
        yield Fault(FaultKind.TWO_PLACES, queue, key, f"a dead letter, but {before[-1].channel} has it")


def _delivered_expired(view: View, queue: str, key: Key, deliveries: list[Event], grace: float) -> Iterator[Fault]:
    ttl = view.rules[queue].message_ttl
    if ttl is None:
        return
    # The latest moment at which it may have been published.
    known = [event.t_ret for event in view.confirms.get(key, ())]
    born = min([*known, *(view.sent_by(delivery) for delivery in deliveries)])
    for delivery in deliveries:
        if (late := view.sent_by(delivery) - born - ttl) > grace:
            yield Fault(FaultKind.DELIVERED_EXPIRED, queue, key, f"delivered {late:.3f} s after its end")
            return


def _over_limit(view: View, queue: str, key: Key, deliveries: list[Event]) -> Iterator[Fault]:
    """Each delivery but the first was given back before it. What was given back just before a node's end may have been
    forgotten, but for one that the end itself counts (ADR 42)."""
    limit = view.rules[queue].delivery_limit
    if limit is None or len(deliveries) <= limit + 1:
        return
    times, forgotten = [view.sent_by(delivery) for delivery in deliveries], 0
    for end in view.ends:
        forgotten += sum(end.t_inv - view.ack_grace <= at <= end.t_ret for at in times)
    returned = len(times) - 1
    if returned - forgotten > limit:
        yield Fault(FaultKind.OVER_LIMIT, queue, key, f"given back {returned} times, {limit} are allowed")


def _over_length(view: View) -> Iterator[Fault]:
    for queue, rules in view.rules.items():
        drained = sum(event.op is Op.DRAIN and event.queue == queue for event in view.events)
        if rules.max_length is not None and drained > rules.max_length:
            yield Fault(FaultKind.OVER_LENGTH, queue, None, f"{drained} were in it, {rules.max_length} are allowed")
