"""What others cause without end does not fill the log."""

from __future__ import annotations

from broker.machine.line_limit import MOST_LINES, SECONDS, LineLimit


def test_ten_lines_go_through_in_ten_seconds_and_the_next_one_says_how_many_did_not() -> None:
    limit = LineLimit()
    assert [limit.take(100.0) for _ in range(MOST_LINES + 3)] == [0] * MOST_LINES + [None] * 3
    assert limit.take(100.0 + SECONDS / 2) is None
    assert limit.take(100.0 + SECONDS) == 4
    assert limit.take(100.0 + SECONDS) == 0
