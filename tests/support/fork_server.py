"""A process that has the broker's modules and is forked for each broker of the tests: none has to import them again.

`python -m tests.support.fork_server DESCRIPTOR [load]`: the descriptor is its end of a socket, on which each message
asks for a process. When the other end is closed it kills what still runs, and ends. Knows processes; must not know what
they do.
"""

from __future__ import annotations

import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import TextIO

import broker

_LARGEST = 1 << 17
"""Octets of a request, with room for an environment."""
_NOT_LOADED = ("broker.cli", "broker.store.sql.migrations")
"""What no broker imports by its name."""

_LATE = (
    "alembic.command",
    "alembic.config",
    "cryptography.hazmat.backends.openssl.backend",
    "encodings.idna",
    "uvloop",
)
"""What brokers import when they need it, and most of them do."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is to run, and how. Four descriptors come with it: its standard ones, and one where its end is told."""

    arguments: Sequence[str]
    """Those of the interpreter: `-m`, a module, and what that is given; or `-c`, a program, and what that is given."""
    environ: dict[str, str]
    directory: str
    cores: Sequence[int]
    is_detached: bool
    """Whether it leads a session of its own."""

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()


def load() -> None:
    """Import every module that a broker may import, but for those that are run."""
    for name in _LATE:
        importlib.import_module(name)
    for found in pkgutil.walk_packages(broker.__path__, "broker."):
        if not found.name.endswith("__main__") and not found.name.startswith(_NOT_LOADED):
            importlib.import_module(found.name)


def serve(control: socket.socket) -> Request | None:
    """Fork for every request. Returns in each fork, with what it is to run; and without anything at the end."""
    running: dict[int, tuple[int, int]] = {}  # by its descriptor: a child's id, and where its end is told
    ready = select.poll()
    ready.register(control, select.POLLIN)
    while True:
        for descriptor, _ in ready.poll():
            if descriptor in running:
                ready.unregister(descriptor)
                _tell_end(*running.pop(descriptor))
                os.close(descriptor)
                continue
            message, descriptors, _, _ = socket.recv_fds(control, _LARGEST, 4)
            if not message:
                for pid, _ in running.values():
                    os.kill(pid, signal.SIGKILL)
                return None
            *standard, end = descriptors
            pid = os.fork()
            if pid == 0:
                control.detach()  # else its object would close the descriptor of that number, whose ever it is then
                request = Request(**json.loads(message))
                _become(request, standard)
                return request
            for each in standard:
                os.close(each)
            child = os.pidfd_open(pid)
            running[child] = pid, end
            ready.register(child, select.POLLIN)
            control.send(str(pid).encode())


def _tell_end(pid: int, end: int) -> None:
    """Tell how a process has ended, as `subprocess` has it; its id is free only after that."""
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    status = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
    with suppress(BrokenPipeError):  # nobody may want to know any more
        os.write(end, str(status).encode())
    os.close(end)
    os.waitpid(pid, 0)


def _become(request: Request, standard: Sequence[int]) -> None:
    """Make of this fork what a new process would be."""
    if request.is_detached:
        os.setsid()
    for number, descriptor in enumerate(standard):
        os.dup2(descriptor, number)
    sys.stdout, sys.stderr = _stream(1, sys.stdout), _stream(2, sys.stderr)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.chdir(request.directory)
    os.sched_setaffinity(0, request.cores)
    os.environ.clear()
    os.environ.update(request.environ)


def _stream(descriptor: int, like: TextIO) -> TextIO:
    """What the interpreter makes of a descriptor where PYTHONUNBUFFERED is set."""
    raw = io.FileIO(descriptor, "wb", closefd=False)
    return io.TextIOWrapper(raw, like.encoding, like.errors, write_through=True)


def run(arguments: Sequence[str]) -> None:
    """Do what the interpreter does with these arguments."""
    how, what, *rest = arguments
    if how == "-m":
        sys.argv = [what, *rest]
        runpy.run_module(what, run_name="__main__", alter_sys=True)
        return
    sys.argv = ["-c", *rest]
    main = sys.modules["__main__"] = ModuleType("__main__")
    exec(compile(what, "<string>", "exec"), main.__dict__)


def main() -> None:
    if sys.argv[2:] == ["load"]:
        load()
    assert threading.active_count() == 1, "a fork has no other thread"
    gc.collect()
    gc.freeze()  # the memory that forks share stays as it is
    request = serve(socket.socket(fileno=int(sys.argv[1])))
    if request is not None:
        run(request.arguments)


if __name__ == "__main__":
    main()
