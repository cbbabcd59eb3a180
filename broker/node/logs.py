"""How this process logs: readable on a terminal, JSON otherwise, and never in the way of what is logged (ADR 33).

What libraries log by `logging` or as warnings, and what threads and finalizers raise, goes the same way.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, TextIO

import structlog
from structlog.typing import EventDict, ExcInfo, Processor

from broker.node.log_flood import LogFlood
from broker.node.log_writer import LogWriter
from broker.node.printable import printable
from broker.node.recent_logs import RecentLogs

LEVELS: Final = ("debug", "info", "warning", "error")
_NUMBERS: Final = {name: getattr(logging, name.upper()) for name in (*LEVELS, "critical")}
_CLOSE_TIMEOUT: Final = 2.0
_SELDOM: Final = dict.fromkeys(
    (
        "a TLS handshake has failed",  # browsers try on and on where nobody has signed the certificate
        "connection closed for an error",  # clients that connect again at once, as to a node that takes none
        "a peer is not authorized",
        "thrift peer is not authorized",
        "a peer sent what cannot be read",
    ),
    60.0,
)
"""Seconds in which a peer has one line of these for each reason."""


class NamedLog:
    """The log of one module: what structlog has a logger for."""

    __slots__ = ("_write", "name", "threshold")

    def __init__(self, name: str, threshold: int, write: Callable[[str], None]) -> None:
        self.name = name
        self.threshold = threshold
        self._write = write

    def msg(self, line: str) -> None:
        """Log a line that `Logs.process` has returned."""
        self._write(line)

    debug = info = warning = error = critical = exception = log = msg


class Logs:
    """The log of this process."""

    def __init__(
        self, level: str, *, descriptor: int, is_terminal: bool, close_timeout: float = _CLOSE_TIMEOUT
    ) -> None:
        """Log what is at least as grave as `level` to `descriptor`."""
        self.is_terminal = is_terminal
        self._level = level
        self._level_of: Callable[[str], str | None] = _nothing_of_its_own
        self._threshold_of_audit: int | None = None
        self._named: dict[str, NamedLog] = {}
        self._close_timeout = close_timeout
        self._flood = LogFlood(time.monotonic, seldom=_SELDOM)
        self.recent: Final = RecentLogs()
        self._complete: Sequence[Processor] = (
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        )
        self._format: Sequence[Processor] = _for_terminal() if is_terminal else _as_json()
        self._writer = LogWriter(descriptor, self._dropped_line, look_after=self._tell_left_out)

    def set_levels(
        self, level: str, *, level_of: Callable[[str], str | None] | None = None, level_of_audit: str = ""
    ) -> None:
        """Log what is at least as grave as `level` from now on.

        Modules of which `level_of` returns another, and audit events, have their own.
        """
        self._level = level
        self._level_of = level_of or _nothing_of_its_own
        self._threshold_of_audit = _NUMBERS[level_of_audit] if level_of_audit else None
        for name, log in list(self._named.items()):
            log.threshold = self._threshold(name)

    def named(self, name: str = "") -> NamedLog:
        """Return the log of the module of this name; without one, of nobody."""
        if name not in self._named:
            self._named[name] = NamedLog(name, self._threshold(name), self._writer.write)
        return self._named[name]

    def write(self, text: str) -> None:
        """Write text that is no log line, in its turn. Never waits and never fails."""
        self._writer.write(text)

    def close(self) -> None:
        """Write what is left, if its reader takes it soon."""
        self._tell_left_out(at_once=True)
        self._writer.close(self._close_timeout)

    # For structlog

    def process(self, log: NamedLog, method: str, event: EventDict) -> str:
        """Return the line of an event; raise DropEvent when it is not to be logged."""
        threshold = log.threshold
        if self._threshold_of_audit is not None and "audit" in event:
            threshold = self._threshold_of_audit
        if _NUMBERS.get(method, logging.ERROR) < threshold:
            raise structlog.DropEvent
        return self._line(method, self._flood(log, method, event), log.name)

    def _threshold(self, name: str) -> int:
        number: int = _NUMBERS[self._level_of(name) or self._level]
        return number

    def _line(self, method: str, event: MutableMapping[str, Any], module: str = __name__) -> str:
        try:
            line: Any = event
            for processor in self._complete:
                line = processor(None, method, line)
            self.recent.add(module, line)
            for processor in self._format:
                line = processor(None, method, line)
            return str(line)
        except Exception as error:  # a line that cannot be shown must not fail what it tells of
            name = printable(str(event.get("event")))
            return f'{{"event": "a log line could not be rendered", "of": "{name}", "error": "{type(error).__name__}"}}'

    def _dropped_line(self, count: int) -> str:
        return self._line(
            "warning", {"event": "log lines were dropped: they came faster than they were read", "lines": count}
        )

    def _tell_left_out(self, *, at_once: bool = False) -> bool:
        for fields in self._flood.left_out(at_once=at_once):
            self._writer.write(self._line("warning", {"event": "log lines of one kind were left out", **fields}))
        return self._flood.is_holding_back


def _nothing_of_its_own(_: str) -> str:
    return ""


def open_standard_descriptors() -> None:
    """Open those of descriptors 0 to 2 that are closed, so that no file of the store gets one: others write there."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def configure(level: str = "info", *, stream: TextIO | None = None, is_terminal: bool | None = None) -> Logs:
    """Set up logging for the whole process, to the descriptor of `stream` (stderr)."""
    stream = stream or sys.stderr
    descriptor = 2 if stream is None else stream.fileno()  # Python has no stderr when that was closed
    logs = Logs(level, descriptor=descriptor, is_terminal=os.isatty(descriptor) if is_terminal is None else is_terminal)
    structlog.configure(
        processors=[logs.process],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=logs.named,
        cache_logger_on_first_use=True,
    )
    _take_over()
    return logs


def _take_over() -> None:
    """Send the same way what else would write to stderr, and might wait there."""
    logging.raiseExceptions = False
    logging.basicConfig(handlers=[_Handler(logging.WARNING)], level=logging.WARNING, force=True)
    logging.captureWarnings(True)
    sys.unraisablehook = lambda unraisable: _log_error(
        "error that could not be raised", unraisable.exc_type, unraisable.exc_value, unraisable.exc_traceback
    )
    threading.excepthook = lambda ended: _log_error(
        "a thread has ended with an error", ended.exc_type, ended.exc_value, ended.exc_traceback
    )


def _log_error(
    event: str, kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None
) -> None:
    structlog.get_logger("python").error(event, exc_info=(kind, error or kind(), traceback))


class _Handler(logging.Handler):
    """Hands what libraries log to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else "warning"
        with suppress(Exception):
            log = structlog.get_logger(record.name)
            getattr(log, level)(record.getMessage(), logger=record.name, exc_info=record.exc_info or None)


def _as_json() -> tuple[Processor, ...]:
    # No local variables: they hold message bodies and credentials.
    tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return structlog.processors.ExceptionRenderer(tracebacks), structlog.processors.JSONRenderer()


def _for_terminal() -> tuple[Processor, ...]:
    return _only_printable, structlog.dev.ConsoleRenderer(exception_formatter=_print_traceback)


def _only_printable(_: Any, __: str, event: EventDict) -> EventDict:
    """Escape what is no visible text: a peer may have sent it, and it must not steer the terminal."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = printable(value)
    return event


def _print_traceback(out: TextIO, exc_info: ExcInfo) -> None:
    text = io.StringIO()
    structlog.dev.plain_traceback(text, exc_info)
    out.write(printable(text.getvalue(), keep="\n"))
