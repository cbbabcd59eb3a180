"""Writes the log from a thread of its own, so that whoever logs never waits for its reader and never fails (ADR 33)."""

from __future__ import annotations

import errno
import os
import select
import threading
from collections.abc import Callable
from time import monotonic
from typing import Final

_ROOM: Final = 1 << 20
_PIECE: Final = 1 << 16
_TRY_AGAIN: Final = 1.0
"""Seconds between two tries of a log that cannot be written now, for example on a full disk."""
_LOOK_AGAIN: Final = 1.0
_NOBODY_READS: Final = (errno.EPIPE, errno.EBADF)


class LogWriter:
    """Lines on their way to a descriptor: as many as there is room for; the others are dropped and counted."""

    def __init__(
        self,
        descriptor: int,
        dropped_line: Callable[[int], str],
        *,
        room: int = _ROOM,
        look_after: Callable[[], bool] = lambda: False,
        try_again: float = _TRY_AGAIN,
    ) -> None:
        """`dropped_line` says how many lines were dropped. `room` is in octets.

        `look_after` is called in the thread after each write, and while it returns True every second.
        """
        self._descriptor = descriptor
        self._dropped_line = dropped_line
        self._room = room
        self._look_after = look_after
        self._try_again = try_again
        self._changed = threading.Condition()
        self._lines: list[bytes] = []
        self._octets = 0
        self._dropped = 0
        self._is_idle = True
        self._is_closed = False
        self._is_broken = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, text: str) -> None:
        """Write `text` and a line end soon. Never waits and never fails; may be called from any thread."""
        line = text.encode("utf-8", "backslashreplace") + b"\n"
        with self._changed:
            if self._is_broken:
                return
            if self._octets + len(line) > self._room:
                self._dropped += 1
                return
            self._lines.append(line)
            self._octets += len(line)
            self._is_idle = False
            self._changed.notify_all()

    def close(self, timeout: float) -> None:
        """Return when everything is written, or after `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_idle or self._is_broken, timeout)
            self._is_closed = True
            self._changed.notify_all()

    # In the thread

    def _run(self) -> None:
        must_look = False
        while not self._is_closed:
            try:
                must_look = self._write_next(must_look)
            except Exception:  # without memory, for example: what was taken is lost, the thread must not be
                self._dropped += 1
                self._pause()

    def _write_next(self, must_look: bool) -> bool:
        """Wait for lines and write them; return whether to look again soon, lines or not."""
        with self._changed:
            if not (self._lines or self._dropped):
                self._is_idle = True
                self._changed.notify_all()
                self._changed.wait(_LOOK_AGAIN if must_look else None)
            lines, self._lines = self._lines, []
            dropped, self._dropped = self._dropped, 0
            self._octets = 0
        self._put(b"".join(lines))
        if dropped:
            self._put(self._dropped_line(dropped).encode("utf-8", "backslashreplace") + b"\n")
        return self._look_after()

    def _put(self, data: bytes) -> None:
        """Write all of `data`, however long it takes; give up when nobody will ever read it."""
        rest = memoryview(data)
        while rest and not (self._is_broken or self._is_closed):
            try:
                rest = rest[os.write(self._descriptor, rest[:_PIECE]) :]
            except InterruptedError:
                continue
            except BlockingIOError:
                self._wait_for_reader()
            except OSError as error:
                if error.errno in _NOBODY_READS:
                    self._break()
                else:
                    self._pause()

    def _wait_for_reader(self) -> None:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        poll.poll(self._try_again * 1000)

    def _pause(self) -> None:
        with self._changed:
            until = monotonic() + self._try_again
            self._changed.wait_for(lambda: self._is_closed or monotonic() >= until, self._try_again)

    def _break(self) -> None:
        with self._changed:
            self._is_broken = True
            self._lines.clear()
            self._changed.notify_all()
