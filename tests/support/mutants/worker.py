"""Runs tests in a fork for each change: `python -m tests.support.mutants.worker`, in a copy of the project.

Reads jobs from standard input and answers each with a line of JSON. What takes long to import is imported once, before
the forks, except the broker itself: each fork imports the changed one.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from tests.support.database_products import Product
from tests.support.databases import DatabaseMissing, DatabaseServer, MariaDB, PostgreSQL, lent
from tests.support.mutants.own_time import OwnTime

_PRELOADED: Final = (
    "pytest",
    "pytest_asyncio",
    "hypothesis",
    "sqlalchemy.ext.asyncio",
    "alembic.command",
    "aiomysql",
    "asyncpg",
    "pydantic",
    "structlog",
    "thriftpy2.rpc",
    "defusedxml.ElementTree",
    "uvloop",
    "pamqp.commands",
    "coverage",
)
_OPTIONS: Final = (
    *("-q", "-x", "--tb=short", "-p", "no:cacheprovider"),
    *("-m", "not slow"),
    *("--timeout", "0"),  # the job has a limit of its own
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # what is preloaded holds no assertion of ours
)

_UNNOTICED: Final = (0, 5)
"""Pytest's exit codes when all tests passed, and when there were none."""
_LOOK: Final = 0.5
"""How often, in seconds, the time of tests is looked at."""


@dataclass(frozen=True, slots=True)
class Job:
    """Tests to run, on a file that is changed meanwhile; without a file, on the code as it is."""

    file: str
    text: str
    tests: list[str]
    seconds: float
    """How long they may take, by `OwnTime`, before the change counts as one that hangs."""
    needs_databases: bool = False
    learn: str = ""
    """Where to keep which tests run which lines of `modules`; empty: nobody asks."""
    modules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a job: `passed`, `failed` or `hung`."""

    result: str
    seconds: float


def run(job: Job) -> Outcome:
    """Change the file, run the tests in a fork, put the file back."""
    path = Path(job.file)
    original = path.read_bytes() if job.file else b""
    begun = time.monotonic()
    try:
        if job.file:
            path.write_text(job.text)
        result = _forked(job)
    finally:
        if job.file:
            path.write_bytes(original)
    return Outcome(result, time.monotonic() - begun)


def _forked(job: Job) -> str:
    pid = os.fork()
    if pid == 0:
        _child(job)
    ended = _ends_within(pid, job.seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # also what the tests have left behind
    _, status = os.waitpid(pid, 0)
    if not ended:
        return "hung"
    return "passed" if os.waitstatus_to_exitcode(status) in _UNNOTICED else "failed"


def _ends_within(pid: int, seconds: float) -> bool:
    own_time = OwnTime(pid)
    watch = os.pidfd_open(pid)
    try:
        while own_time.seconds() < seconds:
            if select.select([watch], [], [], _LOOK)[0]:
                return True
        return False
    finally:
        os.close(watch)


def _child(job: Job) -> None:
    """Run pytest and end the process with its exit code."""
    os.setsid()
    sink = os.open(os.devnull if not job.learn else f"{job.learn}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    code = 3
    try:
        import pytest

        from tests.support.mutants.selection import Recording

        plugins = []
        if job.learn:
            recording = Recording(job.modules)
            plugins.append(recording)
            recording.start()
        code = pytest.main([*_OPTIONS, *job.tests], plugins=plugins)
        if job.learn and code == 0:
            recording.stop().save(Path(job.learn))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(int(code))


def _lend_databases() -> None:
    products: tuple[Callable[[], Product], ...] = (MariaDB, PostgreSQL)
    for product in products:
        with contextlib.suppress(DatabaseMissing):
            lent[product] = DatabaseServer(product())


def main() -> None:
    """Answer jobs until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    sys.dont_write_bytecode = True  # a changed file may have its predecessor's size and second
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    for name in _PRELOADED:
        importlib.import_module(name)
    try:
        for line in sys.stdin:
            job = Job(**json.loads(line))
            if job.needs_databases and not lent:
                _lend_databases()
            answers.write(json.dumps(asdict(run(job))) + "\n")
            answers.flush()
    finally:
        for server in lent.values():
            server.close()


if __name__ == "__main__":
    main()
