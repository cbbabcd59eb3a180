"""Jobs have numbers, a bound of how many run, and are forgotten when others come."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from broker.errors import AdministrationError
from broker.topology.jobs import MOST_RUNNING, JobBook


@dataclass
class Job:
    number: int
    is_running: bool = True


def test_no_more_jobs_run_than_may() -> None:
    book = JobBook[Job](100, "wait")
    first, *_ = [book.add(Job) for _ in range(MOST_RUNNING)]
    with pytest.raises(AdministrationError, match=r"4 jobs are running: wait$"):
        book.add(Job)
    first.is_running = False
    assert book.add(Job).number == MOST_RUNNING + 1


def test_those_that_ended_first_are_forgotten_first() -> None:
    book = JobBook[Job](3, "wait")
    running = book.add(Job)
    for _ in range(4):
        book.add(Job).is_running = False
    assert [job.number for job in book] == [5, 4, 1]
    assert book.find(running.number) is running
    assert book.find(2) is None
