"""What a line of the log looks like, and which lines there are."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
import warnings
from typing import Any

import pytest
import structlog

from broker.node.logs import Logs, configure, open_standard_descriptors

OWN_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Written:
    """The log of a test, and what it has written."""

    def __init__(self, *, is_terminal: bool, level: str = "info") -> None:
        self._out, into = os.pipe()
        self.logs = Logs(level, descriptor=into, is_terminal=is_terminal)
        self._into = into
        self.log = self.of("broker.queue.queue")

    def of(self, module: str) -> Any:
        return structlog.wrap_logger(
            self.logs.named(module),
            processors=[self.logs.process],
            wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        )

    def text(self) -> str:
        self.logs.close()
        os.close(self._into)
        with os.fdopen(self._out) as out:
            return out.read()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]


NASTY = "eve\x1b[2J\x9b2J\x85\u2028\u2029\v\f\r\n\u202e\u2066\x00"


@pytest.mark.parametrize(
    "fields",
    [{"user": NASTY}, {"users": [NASTY]}, {"reason": ValueError(NASTY)}, {"octets": NASTY.encode()}],
    ids=["a text", "a list", "an error", "octets"],
)
def test_what_a_peer_says_steers_no_terminal(fields: dict[str, Any]) -> None:
    written = Written(is_terminal=True)
    written.log.warning("login refused", **fields)
    text = OWN_COLOURS.sub("", written.text())
    assert text.removesuffix("\n").isprintable()
    assert r"\x1b[2J" in text


def test_a_traceback_steers_no_terminal_either() -> None:
    written = Written(is_terminal=True)
    try:
        raise ValueError(NASTY)
    except ValueError:
        written.log.exception("internal error")
    lines = OWN_COLOURS.sub("", written.text()).split("\n")
    assert all(line.isprintable() for line in lines)
    assert any(line.startswith(r"ValueError: eve\x1b[2J") for line in lines)


def test_without_a_terminal_a_line_is_json_in_ascii() -> None:
    written = Written(is_terminal=False)
    written.log.warning("login refused", user=NASTY)
    text = written.text()
    assert text.removesuffix("\n").isprintable()
    assert text.isascii()
    assert json.loads(text)["user"] == NASTY


def test_the_level_can_change_and_counts_for_loggers_that_are_there() -> None:
    written = Written(is_terminal=False)
    log = written.log.bind(connection="10.0.0.1:50000")
    log.debug("not yet")
    written.logs.set_levels("debug")
    log.debug("now")
    written.logs.set_levels("error")
    log.warning("no more")
    log.error("but this")
    assert [line["event"] for line in written.lines()] == ["now", "but this"]


def test_modules_and_audit_events_may_have_levels_of_their_own() -> None:
    written = Written(is_terminal=False)
    written.log.info("said before")
    written.logs.set_levels(
        "error", level_of={"broker.queue.queue": "debug", "broker.amqp": "warning"}.get, level_of_audit="info"
    )
    written.log.debug("of the queue")
    others = {name: written.of(name) for name in ("broker.amqp", "broker.node.process")}
    for name, log in others.items():
        log.info("not said", of=name)
        log.warning("said of one", of=name)
        log.info("said", of=name, audit="user.created")
    written.logs.set_levels("error")
    written.log.warning("not said any more")
    assert [(line["event"], line.get("of")) for line in written.lines()] == [
        ("said before", None),
        ("of the queue", None),
        ("said of one", "broker.amqp"),
        ("said", "broker.amqp"),
        ("said", "broker.node.process"),
    ]


def test_a_flood_of_one_peer_is_cut_and_counted() -> None:
    written = Written(is_terminal=False)
    for port in range(50_000, 50_797):
        written.log.warning("thrift peer sent a malformed message", peer=f"10.0.0.1:{port}")
    *lines, note = written.lines()
    assert len(lines) == 100
    assert (note["event"], note["host"], note["lines"]) == ("log lines of one kind were left out", "10.0.0.1", 697)


def test_a_line_that_cannot_be_made_does_not_fail_what_it_tells_of() -> None:
    class Unspeakable:
        def __repr__(self) -> str:
            raise RuntimeError("no words")

    for is_terminal in (True, False):
        written = Written(is_terminal=is_terminal)
        written.log.info("connection opened", name=Unspeakable())
        assert "could not be rendered" in written.text()


def said_by_others() -> list[dict[str, Any]]:
    """Configure the whole process as the command line does, let others say something, and return the lines."""
    before = structlog.get_config()
    root, hooks = logging.getLogger(), (sys.unraisablehook, threading.excepthook, logging.raiseExceptions)
    handlers, level = list(root.handlers), root.level
    out, into = os.pipe()
    with os.fdopen(into, "w") as stream:
        logs = configure("info", stream=stream, is_terminal=False)
        try:
            logging.getLogger("asyncio").warning("socket.accept() out of %s", "system resource")
            logging.getLogger("alembic").info("not this")
            with warnings.catch_warnings():
                warnings.simplefilter("always")
                warnings.warn("a library is old", stacklevel=1)
            thread = threading.Thread(target=lambda: 1 // 0)
            thread.start()
            thread.join()
        finally:
            logs.close()
            logging.captureWarnings(False)
            sys.unraisablehook, threading.excepthook, logging.raiseExceptions = hooks
            root.handlers[:], root.level = handlers, level
            structlog.configure(**before)
    with os.fdopen(out) as read:
        return [json.loads(line) for line in read]


def test_what_libraries_warnings_and_threads_say_goes_the_same_way() -> None:
    first, second, third = said_by_others()
    assert (first["event"], first["level"], first["logger"]) == (
        "socket.accept() out of system resource",
        "warning",
        "asyncio",
    )
    assert "a library is old" in second["event"]
    assert (third["event"], third["level"]) == ("a thread has ended with an error", "error")
    assert third["exception"][0]["exc_type"] == "ZeroDivisionError"


def test_no_file_gets_a_standard_descriptor_that_was_closed() -> None:
    kept = os.dup(0)
    try:
        os.close(0)
        open_standard_descriptors()
        assert os.fstat(0).st_rdev == os.stat(os.devnull).st_rdev
    finally:
        os.dup2(kept, 0)
        os.close(kept)


def test_a_client_that_connects_again_and_again_to_a_node_that_refuses_it_leaves_one_line() -> None:
    written = Written(is_terminal=False)
    log = written.of("broker.amqp.connection")
    for port in range(50_000, 50_200):
        reason = "CONNECTION_FORCED - this node sees 1 of at least 2 members"
        log.bind(connection=f"10.0.0.1:{port}").warning("connection closed for an error", channel=0, reason=reason)
    lines = written.lines()
    assert [line["event"] for line in lines] == [
        "connection closed for an error",
        "log lines of one kind were left out",
    ]
    assert (lines[1]["of"], lines[1]["lines"]) == ("connection closed for an error", 199)
