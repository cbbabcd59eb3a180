from __future__ import annotations

import pytest

from broker.queue.outcome import ACKED, EXPIRED, OVER_DELIVERED, OVER_LENGTH, REJECTED, Outcome
from broker.queue.settings import QueueSettings, QueueType
from broker.topology.channel_settings import with_channel
from broker.topology.dialect import ChannelRules


def dead_lettered(settings: QueueSettings) -> list[Outcome]:
    outcomes = (REJECTED, EXPIRED, OVER_LENGTH, OVER_DELIVERED)
    return [outcome for outcome in outcomes if settings.is_dead_lettered(outcome.reason)]


@pytest.mark.parametrize(
    ("moves_expired", "goes"), [(False, [REJECTED, OVER_DELIVERED]), (True, [REJECTED, EXPIRED, OVER_DELIVERED])]
)
def test_what_goes_to_the_channel(moves_expired: bool, goes: list[Outcome]) -> None:
    settings = with_channel(QueueSettings(), ChannelRules(3, moves_expired), has_limit=False)
    assert dead_lettered(settings) == goes
    assert not ACKED.is_death
    assert (settings.delivery_limit, settings.counts_deliveries, settings.counts_seen_only) == (3, True, True)
    assert (settings.dead_letter_exchange, settings.dead_letter_routing_key) == ("", "deadletterchannel")
    assert settings.is_dead_lettered_at_least_once


def test_a_dead_letter_exchange_of_its_own_gets_everything() -> None:
    own = QueueSettings(dead_letter_exchange="dlx")
    settings = with_channel(own, ChannelRules(), has_limit=False)
    assert dead_lettered(settings) == [REJECTED, EXPIRED, OVER_LENGTH, OVER_DELIVERED]
    assert (settings.dead_letter_exchange, settings.dead_letter_routing_key) == ("dlx", None)
    assert not settings.has_channel
    assert settings.delivery_limit == 10


@pytest.mark.parametrize("limit", [None, 0, 5])
def test_a_limit_of_its_own_counts_as_it_does_elsewhere(limit: int | None) -> None:
    settings = with_channel(QueueSettings(delivery_limit=limit), ChannelRules(), has_limit=True)
    assert (settings.delivery_limit, settings.counts_seen_only) == (limit, False)


def test_the_limit_of_a_type_of_queues_gives_way() -> None:
    quorum = QueueSettings(delivery_limit=20, type=QueueType.QUORUM)
    assert with_channel(quorum, ChannelRules(), has_limit=False).delivery_limit == 10
