"""Work that goes on by itself after it was asked for: how much of it runs at once, and how long it is remembered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Final, Generic, Protocol, TypeVar

from broker.errors import AdministrationError

MOST_RUNNING: Final = 4
"""Jobs of one kind that run at once on a node."""


class RunningJob(Protocol):
    """What is asked of a job."""

    @property
    def is_running(self) -> bool: ...


J = TypeVar("J", bound=RunningJob)


class JobBook(Generic[J]):
    """The jobs of one kind of one node, by number."""

    def __init__(self, most_kept: int, advice: str) -> None:
        """So many are remembered: those that have ended first are forgotten first. `advice` is for who comes when too
        many run.
        """
        self._most_kept = most_kept
        self._advice = advice
        self._numbers = count(1)
        self._by_number: dict[int, J] = {}

    def __iter__(self) -> Iterator[J]:
        """Yield all that are remembered, the newest first."""
        return reversed(self._by_number.values())

    def find(self, number: int) -> J | None:
        """Return a job; None if it is not remembered."""
        return self._by_number.get(number)

    def require_room(self) -> None:
        """Raise `AdministrationError` if no further one may run."""
        if sum(job.is_running for job in self._by_number.values()) >= MOST_RUNNING:
            raise AdministrationError(f"{MOST_RUNNING} jobs are running: {self._advice}")

    def add(self, new_job: Callable[[int], J]) -> J:
        """Remember a new job, which `new_job` makes of its number. Raises `AdministrationError`, as `require_room`."""
        self.require_room()
        number = next(self._numbers)
        job = self._by_number[number] = new_job(number)
        ended = [each for each, known in self._by_number.items() if not known.is_running and each != number]
        for each in ended[: max(len(self._by_number) - self._most_kept, 0)]:
            del self._by_number[each]
        return job
