"""How fast connections and channels may be opened: docs/limits.md."""

from __future__ import annotations

import pytest

from broker.amqp.opening_rate import OpeningRate, OpeningRates
from broker.broker import Limits
from broker.codec.constants import PROTOCOL_HEADER
from broker.codec.methods import (
    ChannelClose,
    ChannelOpen,
    ChannelOpenOk,
    ConnectionClose,
    ConnectionOpen,
    ConnectionOpenOk,
    ConnectionTuneOk,
)
from tests.support.harness import Harness, start_ok

LOGINS = {"guest": b"\0guest\0guest", "admin": b"\0admin\0secret"}


@pytest.mark.parametrize("per_second", [1, 3, 7, 10, 1000])
@pytest.mark.parametrize("now", [0.0, 123_456.789])
def test_so_many_are_opened_at_once_and_as_many_in_each_second_after_that(per_second: int, now: float) -> None:
    rate = OpeningRate(per_second)
    assert [rate.allows(now) for _ in range(per_second + 1)] == [True] * per_second + [False]
    for second in range(1, 4):
        opened = sum(rate.allows(now + second) for _ in range(per_second * 2))
        assert opened == per_second


def test_what_is_refused_does_not_count() -> None:
    rate = OpeningRate(2)
    assert [rate.allows(0.0) for _ in range(100)].count(True) == 2
    assert rate.allows(0.5)
    assert not rate.allows(0.5)


def test_a_long_rest_saves_nothing_up() -> None:
    rate = OpeningRate(2)
    assert rate.allows(0.0)
    assert [rate.allows(1000.0) for _ in range(4)] == [True, True, False, False]


def test_users_do_not_count_for_each_other_and_only_so_many_are_remembered() -> None:
    rates = OpeningRates(1, users=2)
    assert [rates.allows(user, 0.0) for user in ("ann", "bob", "ann")] == [True, True, False]
    assert rates.allows("cid", 0.0)
    assert len(rates) == 2
    assert not rates.allows("ann", 0.0)
    assert rates.allows("bob", 0.0)


def test_a_user_who_opens_connections_too_fast_is_refused_until_a_moment_later() -> None:
    harness = Harness()
    object.__setattr__(harness.shared, "openings", OpeningRates(1))

    def opened(user: str = "guest") -> object:
        client = harness.connect()
        client.send_raw(PROTOCOL_HEADER)
        client.send(0, start_ok(response=LOGINS[user]))
        client.send(0, ConnectionTuneOk())
        client.received()
        client.send(0, ConnectionOpen())
        ((_, answer),) = client.received()
        return answer

    text = "NOT_ALLOWED - connection refused for user 'guest': more than 1 connections in a second"
    assert opened() == ConnectionOpenOk()
    assert opened() == ConnectionClose(530, text, 10, 40)
    assert opened("admin") == ConnectionOpenOk()
    harness.clock.advance(1.0)
    assert opened() == ConnectionOpenOk()


def test_a_connection_that_opens_channels_too_fast_is_closed() -> None:
    harness = Harness(limits=Limits(max_channel_rate=3))
    peer = harness.peer()  # with channel 1
    other = harness.peer()
    for channel in (2, 3):
        assert peer.call(channel, ChannelOpen()) == ChannelOpenOk()
    peer.call(3, ChannelClose(200, "", 0, 0))
    harness.clock.advance(0.4)
    assert peer.call(3, ChannelOpen()) == ChannelOpenOk()
    assert other.call(2, ChannelOpen()) == ChannelOpenOk()
    peer.send(4, ChannelOpen())
    assert peer.received() == [
        (0, ConnectionClose(530, "NOT_ALLOWED - more than 3 channels opened in a second", 20, 10))
    ]
