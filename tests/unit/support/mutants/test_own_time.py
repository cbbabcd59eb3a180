"""Time on a machine that others use is counted as if nobody did."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mutants import own_time
from tests.support.mutants.own_time import OwnTime, share


@pytest.mark.parametrize(("ran", "waited", "part"), [(3, 1, 0.75), (1, 9, 0.1), (5, 0, 1.0), (0, 0, 1.0), (0, 5, 1.0)])
def test_the_share_is_what_it_got_of_what_it_wanted(ran: int, waited: int, part: float) -> None:
    assert share(ran, waited) == part


def test_seconds_count_by_the_share_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    told: Iterator[str] = iter(["100 500 7", "400 1400 9"])
    monkeypatch.setattr(Path, "read_text", lambda path: next(told))
    clock = iter([10.0, 30.0])
    monkeypatch.setattr(own_time.time, "monotonic", lambda: next(clock))

    own = OwnTime(1)

    assert own.seconds() == 20.0 * 300 / 1200


def test_every_second_counts_where_the_scheduler_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda path: "")
    clock = iter([10.0, 30.0])
    monkeypatch.setattr(own_time.time, "monotonic", lambda: next(clock))

    assert OwnTime(1).seconds() == 20.0
