"""When lost batches were committed."""

from __future__ import annotations

from broker.store.server.commit_times import CommitTimes


def test_the_span_begins_with_the_last_batch_that_is_still_there() -> None:
    times = iter([100.0, 101.0, 102.0, 103.0])
    commits = CommitTimes(lambda: next(times))
    for number in (1, 2, 3):
        commits.note(number)

    assert commits.span_after(2) == (102.0, 103.0)
    assert commits.span_after(0) == (100.0, 103.0)


def test_a_tenth_of_a_second_has_one_entry_however_many_batches_there_are() -> None:
    now = 100.0
    commits = CommitTimes(lambda: now)
    for number in range(1, 1001):
        commits.note(number)

    assert len(commits._noted) == 1
    assert commits.span_after(500) == (100.0, 100.0)
