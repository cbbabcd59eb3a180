"""Work on dead letters that takes longer than anybody waits: it goes on by itself, and tells how far it is.

Messages move page by page, each page in one transaction of the store (`DeadLetterChannels`). What was moved when a job
is cancelled, or its node ends, stays moved; the others are dead letters as before.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import structlog

from broker.auth.audit import DEAD_LETTERS_MOVED, tell
from broker.errors import AdministrationError, BrokerError
from broker.topology.dead_letter_channels import Chosen, DeadLetterChannels, Moved
from broker.topology.jobs import JobBook

_log = structlog.get_logger(__name__)

MOST_KEPT: Final = 100
"""Jobs of a node that are remembered: those that have ended first are forgotten first."""
ACTIONS: Final = ("restore", "reroute", "delete")


class JobState(Enum):
    """How a job is."""

    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(slots=True)
class DeadLetterJob:
    """One job. Times are in milliseconds since 1970."""

    number: int
    vhost: str
    action: str
    """One of `ACTIONS`."""
    chosen: Chosen
    target: str
    """Of reroute: the queue to which messages go."""
    by: str
    """Who has asked for it."""
    total: int
    """Messages that were in the channel at the beginning, or were named: no more than these can be moved."""
    started_ms: int
    moved: Moved
    state: JobState = JobState.RUNNING
    ended_ms: int | None = None
    reason: str = ""
    """Why it has failed."""

    @property
    def is_running(self) -> bool:
        return self.state is JobState.RUNNING


class DeadLetterJobs:
    """The jobs of one node."""

    def __init__(
        self,
        channels: DeadLetterChannels,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        now_ms: Callable[[], int],
    ) -> None:
        """`spawn` runs a coroutine beside what others do."""
        self._channels = channels
        self._spawn = spawn
        self._now_ms = now_ms
        self._jobs = JobBook[DeadLetterJob](MOST_KEPT, "wait for one of them, or cancel it")

    def of(self, vhost: str) -> Sequence[DeadLetterJob]:
        """Return the jobs of a virtual host, the newest first."""
        return [job for job in self._jobs if job.vhost == vhost]

    def find(self, vhost: str, number: int) -> DeadLetterJob | None:
        """Return a job of a virtual host."""
        job = self._jobs.find(number)
        return job if job is not None and job.vhost == vhost else None

    def start(self, vhost: str, action: str, chosen: Chosen, *, target: str = "", by: str = "") -> DeadLetterJob:
        """Begin a job. Raises `AdministrationError` for what cannot be done, or when there are too many."""
        if action not in ACTIONS:
            raise AdministrationError(f"there is no action '{action}': there are {', '.join(ACTIONS)}")
        self._jobs.require_room()
        self._channels.check(vhost, chosen, target if action == "reroute" else None)
        total = self._channels.waiting(vhost) if chosen.ids is None else len(chosen.ids)
        now = self._now_ms()
        job = self._jobs.add(
            lambda number: DeadLetterJob(number, vhost, action, chosen, target, by, total, now, Moved())
        )
        self._spawn(self._run(job))
        return job

    def cancel(self, job: DeadLetterJob) -> None:
        """Let a job end after the page that it is at. One that has ended stays as it is."""
        job.moved.is_cancelled = True

    async def _run(self, job: DeadLetterJob) -> None:
        try:
            match job.action:
                case "restore":
                    await self._channels.restore(job.vhost, job.chosen, job.moved)
                case "reroute":
                    await self._channels.reroute(job.vhost, job.chosen, job.target, job.moved)
                case _:
                    await self._channels.delete(job.vhost, job.chosen, job.moved)
            job.state = JobState.CANCELLED if job.moved.is_cancelled else JobState.DONE
        except BrokerError as error:
            job.state, job.reason = JobState.FAILED, str(error)
        finally:
            if job.is_running:  # the node ends, or an error of ours that is logged elsewhere
                job.state, job.reason = JobState.FAILED, "it was interrupted: the log of the node says why"
            job.ended_ms = self._now_ms()
            tell(
                _log,
                DEAD_LETTERS_MOVED,
                user=job.by,
                vhost=job.vhost,
                action=job.action,
                messages=job.moved.count,
                left=job.moved.stay,
                state=job.state.value,
            )
