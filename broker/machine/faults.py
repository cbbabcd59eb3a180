"""Which errors of the machine a background loop survives, and how it says so (ADR 25).

A machine that is short of something refuses a call: EMFILE, ENFILE, ENOMEM, EIO, ENOSPC. That costs the step that met
it and nothing more. Any other error in a background loop is a broken invariant, and ends the incarnation.
"""

from __future__ import annotations

from collections.abc import Callable
from errno import errorcode
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

import structlog

T = TypeVar("T")

_log = structlog.get_logger(__name__)

MACHINE_FAULTS: Final = (OSError, MemoryError)
"""What a call raises that the machine could not carry out now. The same call may succeed later."""


def kind_of_fault(error: BaseException) -> str:
    """Return the name of the error number, or of the class."""
    return errorcode.get(getattr(error, "errno", None) or 0, type(error).__name__)


class MachineFaults:
    """Survives errors of the machine in the steps of one background loop: `with faults: step()`.

    A step must leave everything usable when it ends half-way. Each kind of error is logged once, until a step has ended
    without an error.
    """

    __slots__ = ("_known", "_what")

    def __init__(self, what: str) -> None:
        """`what` names the loop in the log."""
        self._what = what
        self._known: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if isinstance(error, MACHINE_FAULTS):
            self.note(error)
            return True
        if error is None and self._known:
            self._known.clear()
            _log.info("the machine does it again", what=self._what)
        return False

    def note(self, error: BaseException) -> None:
        """Log `error`, which somebody else has survived, unless its kind is known."""
        name = kind_of_fault(error)
        if name not in self._known:
            self._known.add(name)
            _log.error("the machine could not do it, it is tried again", what=self._what, error=name, reason=str(error))


class LastKnown(Generic[T]):
    """A figure that the machine is asked for; while it does not answer, its last answer stands."""

    __slots__ = ("_ask", "_faults", "_value")

    def __init__(self, what: str, ask: Callable[[], T], before: T) -> None:
        """`before` stands until the first answer."""
        self._ask = ask
        self._faults = MachineFaults(what)
        self._value = before

    def __call__(self) -> T:
        with self._faults:
            self._value = self._ask()
        return self._value
