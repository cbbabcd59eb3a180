"""How late the event loop is."""

from __future__ import annotations

import pytest

from broker.node.loop_lag import LoopLag
from tests.support.stage import drive


class Enough(Exception):
    """The test has seen enough."""


def test_the_worst_delay_of_the_last_looks_is_told() -> None:
    now = 100.0
    delays = iter([0.0, 0.5, 0.1])

    async def sleep(seconds: float) -> None:
        nonlocal now
        try:
            now += seconds + next(delays)
        except StopIteration:
            raise Enough from None

    lag = LoopLag(lambda: now)
    assert lag.worst == 0.0
    with pytest.raises(Enough):
        drive(lag.run(sleep))
    assert lag.worst == pytest.approx(0.5)
