"""What is left of a time to live that was altered; how it expires: test_altering.py in unit/management/http."""

from __future__ import annotations

import pytest

from broker.message import first_id_at
from broker.queue.settings import QueueSettings
from broker.queue.time_to_live import KeptTimeToLive, first_unexpired

NOW = 1_800_000_000_000


@pytest.mark.parametrize("kept", [KeptTimeToLive(None, NOW), KeptTimeToLive(0, NOW), KeptTimeToLive(60_000, NOW)])
def test_the_argument_says_what_was_written(kept: KeptTimeToLive) -> None:
    assert KeptTimeToLive.of(kept.text) == kept


@pytest.mark.parametrize("value", [None, 7, "", "none", "1000", "1000 ", " 5", "-1 5", "1000 5x", "x" * 100, "1e3 5"])
def test_what_says_nothing_is_nothing(value: object) -> None:
    assert KeptTimeToLive.of(value) is None


def test_a_kept_time_is_over_when_the_last_message_has_expired() -> None:
    assert not KeptTimeToLive(1000, NOW).is_over(NOW + 999)
    assert KeptTimeToLive(1000, NOW).is_over(NOW + 1000)
    assert not KeptTimeToLive(None, NOW).is_over(NOW + 1_000_000)


def test_each_message_has_the_time_of_its_generation() -> None:
    settings = QueueSettings(message_ttl=1000, kept_ttl=KeptTimeToLive(60_000, NOW))
    assert settings.ttl_of(first_id_at(NOW) - 1) == 60_000
    assert settings.ttl_of(first_id_at(NOW)) == 1000


@pytest.mark.parametrize(
    ("kept", "ttl", "seconds", "first"),
    [
        (60_000, 1000, 30, NOW - 30_000 + 1),
        (60_000, 1000, 120, NOW + 119_000 + 1),
        (1000, 60_000, 30, NOW),
        (1000, 60_000, 120, NOW + 60_000 + 1),
        (1000, None, 120, NOW),
    ],
)
def test_what_has_expired_in_front_is_known(kept: int, ttl: int | None, seconds: int, first: int) -> None:
    settings = QueueSettings(message_ttl=ttl, kept_ttl=KeptTimeToLive(kept, NOW))
    assert settings.first_unexpired(NOW + 1000 * seconds) == first_id_at(first)


def test_without_a_time_nothing_expires() -> None:
    assert first_unexpired(None, NOW) == 0
    assert QueueSettings(kept_ttl=KeptTimeToLive(None, NOW)).first_unexpired(NOW + 1) == 0
