"""What can go wrong for a command, and the exit code that says so (sysexits.h)."""

from __future__ import annotations

from typing import Final

EX_OK: Final = 0
EX_FOUND: Final = 1
"""A message was not routed."""
EX_PARTIAL: Final = 3
"""Some of many could not be done."""
EX_USAGE: Final = 64
EX_DATAERR: Final = 65
EX_NOINPUT: Final = 66
EX_NOUSER: Final = 67
EX_NOHOST: Final = 68
EX_UNAVAILABLE: Final = 69
"""No node answers, or a check has failed."""
EX_SOFTWARE: Final = 70
EX_CANTCREAT: Final = 73
EX_TEMPFAIL: Final = 75
"""The store is away."""
EX_NOPERM: Final = 77
EX_CONFIG: Final = 78
EX_INTERRUPTED: Final = 130


class CommandFailure(Exception):
    """A command that failed. The text is one line: what is wrong, and what to do."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
