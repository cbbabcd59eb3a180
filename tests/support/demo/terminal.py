"""The demo's terminal: a table that is drawn anew in its place, and single keys.

Knows ANSI and `termios`; knows nothing of what is shown. Without a terminal, lines go out and keys are octets of input.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from typing import Final, TextIO

_HOME_AND_CLEAR: Final = "\x1b[H\x1b[J"
_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


class Screen:
    """Shows the newest lines."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._is_terminal = out.isatty()

    def show(self, lines: list[str]) -> None:
        """Replace what is shown; where nothing can be replaced, add it."""
        text = "\n".join(lines)
        self._out.write(f"{_HOME_AND_CLEAR}{text}\n" if self._is_terminal else f"{text}\n\n")
        self._out.flush()

    @contextlib.contextmanager
    def without_cursor(self) -> Iterator[None]:
        """Hide the cursor for a while."""
        if not self._is_terminal:
            yield
            return
        self._out.write(_HIDE_CURSOR)
        try:
            yield
        finally:
            self._out.write(_SHOW_CURSOR)
            self._out.flush()


@contextlib.contextmanager
def keys(on_key: Callable[[str], None]) -> Iterator[None]:
    """Call `on_key` for each key that is pressed, or for each character of a pipe."""
    descriptor = sys.stdin.fileno()
    loop = asyncio.get_running_loop()

    def on_readable() -> None:
        data = os.read(descriptor, 256)
        if not data:
            loop.remove_reader(descriptor)
        for character in data.decode("ascii", "ignore"):
            on_key(character)

    before = termios.tcgetattr(descriptor) if sys.stdin.isatty() else None
    try:
        loop.add_reader(descriptor, on_readable)
    except OSError:  # a file or /dev/null: nobody presses a key
        yield
        return
    if before is not None:
        tty.setcbreak(descriptor)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        if before is not None:
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
