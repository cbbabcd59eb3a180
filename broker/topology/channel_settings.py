"""What the dead letter channel of a dialect means for the queues of its virtual host (docs/jms.md)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from broker.ports.names import DEAD_LETTER_CHANNEL
from broker.queue.outcome import EXPIRED, OVER_DELIVERED, REJECTED
from broker.queue.settings import QueueSettings
from broker.topology.dialect import ChannelRules

_ALWAYS: Final = frozenset((REJECTED.reason, OVER_DELIVERED.reason))


def with_channel(settings: QueueSettings, rules: ChannelRules, *, has_limit: bool) -> QueueSettings:
    """Return the settings of a queue in a virtual host with a dead letter channel. What its arguments and policies say
    counts: a dead-letter exchange, and with `has_limit` how often a message may be given back.
    """
    changes: dict[str, Any] = {}
    if settings.dead_letter_exchange is None:
        reasons = _ALWAYS | {EXPIRED.reason} if rules.moves_expired else _ALWAYS
        changes |= {
            "dead_letter_exchange": "",
            "dead_letter_routing_key": DEAD_LETTER_CHANNEL,
            "channel_reasons": reasons,
            "is_dead_lettered_at_least_once": True,
        }
    if not has_limit:
        changes |= {"delivery_limit": rules.redeliveries, "counts_seen_only": True}
    return replace(settings, **changes)
