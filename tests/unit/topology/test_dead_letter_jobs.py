"""Jobs on dead letters: how far they are, how they end, and how many there may be."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest
from structlog.testing import capture_logs

from broker.errors import AdministrationError, StoreUnavailable
from broker.topology.dead_letter_channels import Chosen, Moved
from broker.topology.dead_letter_jobs import MOST_KEPT, DeadLetterJobs, JobState
from broker.topology.jobs import MOST_RUNNING
from tests.support.stage import drive

ALL = Chosen()


class Channels:
    """Channels from which somebody moves messages page by page; a test says what becomes of it."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.asked: list[tuple[Any, ...]] = []

    def waiting(self, vhost: str) -> int:
        return 12

    def check(self, vhost: str, chosen: Chosen, target: str | None) -> None:
        if target == "nosuch":
            raise AdministrationError("there is no queue 'nosuch'")

    async def restore(self, vhost: str, chosen: Chosen, moved: Moved) -> Moved:
        return self._move("restore", vhost, chosen, moved)

    async def reroute(self, vhost: str, chosen: Chosen, target: str, moved: Moved) -> Moved:
        return self._move("reroute", vhost, chosen, target, moved)

    async def delete(self, vhost: str, chosen: Chosen, moved: Moved) -> Moved:
        return self._move("delete", vhost, chosen, moved)

    def _move(self, *given: Any) -> Moved:
        self.asked.append(given[:-1])
        moved: Moved = given[-1]
        moved.count += 0 if moved.is_cancelled else 12
        if self.error is not None:
            raise self.error
        return moved


class Jobs:
    """Jobs whose coroutines run when the test says so."""

    def __init__(self) -> None:
        self.channels = Channels()
        self.begun: list[Coroutine[Any, Any, None]] = []
        self.jobs = DeadLetterJobs(self.channels, lambda each: self.begun.append(each), lambda: 5000)  # type: ignore[arg-type]

    def run(self) -> None:
        begun, self.begun = self.begun, []
        for coroutine in begun:
            drive(coroutine)


@pytest.mark.parametrize(
    ("action", "target", "asked"),
    [
        ("restore", "", ("restore", "v", ALL)),
        ("reroute", "q", ("reroute", "v", ALL, "q")),
        ("delete", "", ("delete", "v", ALL)),
    ],
)
def test_a_job_does_what_was_asked_for_and_says_who_asked(action: str, target: str, asked: tuple[Any, ...]) -> None:
    parts = Jobs()
    job = parts.jobs.start("v", action, ALL, target=target, by="ann")
    assert (job.state, job.total, job.by, job.moved.count) == (JobState.RUNNING, 12, "ann", 0)
    with capture_logs() as logs:
        parts.run()
    assert parts.channels.asked == [asked]
    assert (job.state, job.moved.count, job.ended_ms) == (JobState.DONE, 12, 5000)
    assert [(log["audit"], log["user"], log["messages"]) for log in logs] == [("dead.letters.moved", "ann", 12)]
    assert parts.jobs.of("v") == [job]
    assert parts.jobs.of("w") == []
    assert parts.jobs.find("w", job.number) is None


def test_a_job_of_chosen_messages_is_about_as_many() -> None:
    parts = Jobs()
    assert parts.jobs.start("v", "delete", Chosen((1, 2, 3))).total == 3
    parts.run()


def test_a_job_that_is_cancelled_moves_no_more() -> None:
    parts = Jobs()
    job = parts.jobs.start("v", "delete", ALL)
    parts.jobs.cancel(job)
    parts.run()
    assert (job.state, job.moved.count) == (JobState.CANCELLED, 0)


def test_a_job_that_fails_says_why() -> None:
    parts = Jobs()
    parts.channels.error = StoreUnavailable("it is away")
    job = parts.jobs.start("v", "delete", ALL)
    parts.run()
    assert (job.state, job.reason) == (JobState.FAILED, "it is away")
    parts.channels.error = ValueError("a fault of ours")
    job = parts.jobs.start("v", "delete", ALL)
    with pytest.raises(ValueError, match="a fault of ours"):
        parts.run()
    assert (job.state, "fault" in job.reason) == (JobState.FAILED, False)


@pytest.mark.parametrize(("action", "target"), [("explode", ""), ("reroute", "nosuch")])
def test_what_cannot_be_done_begins_no_job(action: str, target: str) -> None:
    parts = Jobs()
    with pytest.raises(AdministrationError):
        parts.jobs.start("v", action, ALL, target=target)
    assert parts.jobs.of("v") == []


def test_so_many_jobs_run_at_once() -> None:
    parts = Jobs()
    for _ in range(MOST_RUNNING):
        parts.jobs.start("v", "delete", ALL)
    with pytest.raises(AdministrationError, match="4 jobs are running"):
        parts.jobs.start("v", "delete", ALL)
    parts.run()
    parts.jobs.start("v", "delete", ALL)
    parts.run()


def test_so_many_jobs_are_remembered_and_one_that_runs_is_not_forgotten() -> None:
    parts = Jobs()
    first = parts.jobs.start("v", "delete", ALL)
    running = parts.begun.pop()
    for _ in range(MOST_KEPT + 5):
        parts.jobs.start("v", "delete", ALL)
        parts.run()
    known = parts.jobs.of("v")
    assert len(known) == MOST_KEPT
    assert known[-1] is first
    drive(running)
