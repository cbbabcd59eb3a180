"""What a dead letter says of its death, and whether it goes in a circle, in each kind of virtual host.

Clients of RabbitMQ get its array `x-death` (`codec/death.py`); in a virtual host with a dead letter channel single
headers say it (`codec/channel_death.py`), because WSO2's clients read no array.
"""

from __future__ import annotations

from collections.abc import Sequence

from broker.codec.channel_death import channel_header, went_through
from broker.codec.death import dead_letter_header, died_before
from broker.message import Message, routing_of
from broker.queue.outcome import EXPIRED, REJECTED, Outcome
from broker.queue.queue import Queue
from broker.topology.dialect import ClientDialect


def noted_header(
    dialect: ClientDialect, queue: Queue, message: Message, outcome: Outcome, keys: Sequence[str], now_s: int
) -> bytes:
    """Return the content header's payload of a letter for a message that died in `queue`; `keys` are those by which it
    had been routed.
    """
    published_to, _ = routing_of(message.routing)
    settings, rules = queue.settings, dialect.channel
    if rules is None:
        return dead_letter_header(
            message.header_payload,
            queue=queue.name,
            reason=outcome.reason,
            exchange=published_to,
            routing_keys=keys,
            now_s=now_s,
            drops_cc=settings.dead_letter_routing_key is not None,
        )
    return channel_header(
        message.header_payload,
        queue=queue.name,
        reason=outcome.reason,
        exchange=published_to,
        now_s=now_s,
        keeps_expiration=rules.keeps_expiration and settings.has_channel and outcome is not EXPIRED,
        has_path=not settings.has_channel,
        drops_cc=settings.dead_letter_routing_key is not None,
    )


def in_circles(
    dialect: ClientDialect, queue: Queue, message: Message, outcome: Outcome, header: bytes, names: set[str]
) -> set[str]:
    """Return those of the queues `names` in which a letter with this `header` must not land (contract L5)."""
    if dialect.channel is not None:
        return went_through(header, names)
    if b"x-death" in message.header:
        return died_before(header, names)
    return names & {queue.name} if outcome is not REJECTED else set()  # this is its first death
