"""How far long work is: said where somebody looks, and not too often elsewhere."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import pytest

from broker.cli.progress import ProgressLine
from broker.cli.session import CommandSession
from broker.cli.shell import Shell


class Screen(io.StringIO):
    """A stream that may be a terminal."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@dataclass
class Work:
    """Work of which a hundred are to be done, and a clock."""

    screen: Screen
    environ: dict[str, str] = field(default_factory=dict)
    now: float = 0.0

    def begin(self, total: int | None = 100, **options: bool) -> ProgressLine:
        session = CommandSession(self.environ, shell=Shell(monotonic=lambda: self.now), **options)
        return ProgressLine(session, "messages published", total, self.screen)


def test_on_a_terminal_one_line_changes_and_is_gone_in_the_end() -> None:
    work = Work(Screen(is_terminal=True))
    progress = work.begin()
    progress.advance(10)
    assert work.screen.getvalue() == "", "it may be done at once"
    work.now = 2.0
    progress.advance(10)
    assert work.screen.getvalue() == "\r\x1b[K20 of 100 messages published, 10/s, 8 s left"
    progress.advance(1)
    assert work.screen.getvalue().count("\r") == 1, "not drawn again so soon"
    progress.end()
    assert work.screen.getvalue().endswith("\r\x1b[K")


def test_elsewhere_there_is_a_line_every_ten_seconds() -> None:
    work = Work(Screen(is_terminal=False))
    progress = work.begin(total=None)
    for second in range(1, 26):
        work.now = float(second)
        progress.reach(100 * second)
    progress.end()
    assert work.screen.getvalue() == "1000 messages published, 100/s\n2000 messages published, 100/s\n"


@pytest.mark.parametrize("option", ["is_quiet", "is_silent", "has_no_progress", "CI"])
def test_who_does_not_want_it_sees_nothing(option: str) -> None:
    work = Work(Screen(is_terminal=True), {"CI": "true"} if option == "CI" else {})
    progress = work.begin(**({} if option == "CI" else {option: True}))
    work.now = 60.0
    progress.advance(50)
    progress.end()
    assert work.screen.getvalue() == ""
