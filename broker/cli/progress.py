"""Says how far long work is: on a terminal in one line that changes, otherwise in a line from time to time.

It says nothing of work that is soon done, and nothing on the output, which is for results.
"""

from __future__ import annotations

from typing import Final, TextIO

import click

from broker.cli.session import CommandSession

_FIRST: Final = 1.0
"""Seconds after which work is long."""
_REDRAW: Final = 0.2
_NEXT_LINE: Final = 10.0
"""Seconds between two lines where nobody looks on."""


class ProgressLine:
    """How far one piece of work is."""

    def __init__(self, session: CommandSession, what: str, total: int | None, stream: TextIO | None = None) -> None:
        """`what` is counted, such as `messages published`; `total` is how many there will be, if that is known."""
        import sys

        self._stream = stream or sys.stderr
        self._what = what
        self._total = total
        self._done = 0
        self._monotonic = session.shell.monotonic
        self._begun = self._monotonic()
        environ = session.environ
        is_quiet = session.is_quiet or session.is_silent or session.has_no_progress or "CI" in environ
        self._is_drawn = self._stream.isatty() and not is_quiet and environ.get("TERM") != "dumb"
        self._says_next = float("inf") if is_quiet else self._begun + (_FIRST if self._is_drawn else _NEXT_LINE)
        self._is_line_open = False
        session.how_far = self.how_far

    def how_far(self) -> str:
        """Return how much is done, in words."""
        return f"{self._done}{'' if self._total is None else f' of {self._total}'} {self._what}"

    def advance(self, count: int) -> None:
        """So many more are done."""
        self.reach(self._done + count)

    def reach(self, done: int) -> None:
        """So many are done."""
        self._done = done
        now = self._monotonic()
        if now >= self._says_next:
            self._say(now)

    def end(self) -> None:
        """There is nothing more to say."""
        if self._is_line_open:
            self._write("\r\x1b[K")
            self._is_line_open = False

    def _say(self, now: float) -> None:
        rate = self._done / max(now - self._begun, 1e-9)
        text = f"{self.how_far()}, {rate:.0f}/s"
        if self._total is not None and 0 < self._done < self._total:
            text += f", {(self._total - self._done) / rate:.0f} s left"
        if self._is_drawn:
            self._write(f"\r\x1b[K{text}")
            self._is_line_open = True
        else:
            self._write(f"{text}\n")
        self._says_next = now + (_REDRAW if self._is_drawn else _NEXT_LINE)

    def _write(self, text: str) -> None:
        click.echo(text, file=self._stream, nl=False)
        self._stream.flush()
