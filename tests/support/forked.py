"""Processes that are forked from one which has the broker's modules, where a new one would import them for a second.

Knows which commands can be run so; others are started as any process is. Must not know nodes.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from benchmarks.nodes.process import Launched, launched
from tests.support import fork_server
from tests.support.fork_server import Request

PROJECT = Path(__file__).parents[2]
IS_USED = os.environ.get("CORDILLERA_FRESH_BROKERS") != "1" and hasattr(os, "pidfd_open")
"""Whether the processes of this run are forked, where they can be; else each is started by its command."""

_LONGEST = 60.0
"""Seconds that a command may take."""
_OF_THE_INTERPRETER = ("PYTHON", "LC_", "LANG", "LD_", "TZ", "MALLOC_")
"""How the variables begin that are read when a process starts: a fork cannot have others than its server."""


class ForkServerFailed(RuntimeError):
    """The process that was to be forked has ended; what it has complained of is on standard error."""


class ForkedProcess:
    """What `subprocess.Popen` is for a child, for a process that is none. Several threads may use it."""

    def __init__(self, pid: int, stdout: IO[str] | None, end: int) -> None:
        """`end` is a descriptor from which its exit status can be read as soon as it has one."""
        self.pid = pid
        self.stdout = stdout
        self._end = end
        self._status: int | None = None
        self._lock = threading.Lock()
        weakref.finalize(self, os.close, end)

    def poll(self) -> int | None:
        """Return its exit code, or minus the signal that has ended it; None while it runs."""
        with self._lock:
            if self._status is None and _is_readable(self._end, 0.0):
                told = os.read(self._end, 16)
                self._status = int(told) if told else -signal.SIGKILL  # so it is when its server was killed
            return self._status

    def wait(self, timeout: float | None = None) -> int:
        """Return how it has ended when it has; raise `subprocess.TimeoutExpired` after so many seconds."""
        _is_readable(self._end, timeout)
        status = self.poll()
        if status is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
        return status

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def terminate(self) -> None:
        self._send(signal.SIGTERM)

    def _send(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


class ForkServer:
    """The process that is forked: started with this object, ended when it is closed or when this process ends."""

    def __init__(self, *, is_loaded: bool = True) -> None:
        """It has the broker's modules when it `is_loaded`; else whoever needs one imports it."""
        self._environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                (sys.executable, "-m", fork_server.__name__, str(theirs.fileno()), *(["load"] if is_loaded else [])),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd=PROJECT,
                env=self._environ,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        self._lock = threading.Lock()

    def can_run(self, command: Sequence[str], environ: Mapping[str, str]) -> bool:
        """Whether a fork would be what the command makes."""
        is_same = _of_the_interpreter(environ) == _of_the_interpreter(self._environ)
        return is_same and command[0] == sys.executable and command[1] in ("-m", "-c")

    def launch(self, command: Sequence[str], environ: Mapping[str, str], *, is_detached: bool) -> ForkedProcess:
        """Run what the command would run, as `benchmarks.nodes.process.launched` does."""
        output, their_output = os.pipe()
        with open(os.devnull) as nothing, open(their_output, "wb", buffering=0) as theirs:
            return self._fork(command, environ, (nothing, theirs, theirs), open(output, errors="replace"), is_detached)

    def run(self, command: Sequence[str], environ: Mapping[str, str], given: str) -> subprocess.CompletedProcess[str]:
        """Run the command to its end with `given` as its standard input."""
        with TemporaryFile("w+") as told, TemporaryFile("w+") as output, TemporaryFile("w+") as complaints:
            told.write(given)
            told.seek(0)
            status = self._fork(command, environ, (told, output, complaints), None, False).wait(_LONGEST)
            output.seek(0)
            complaints.seek(0)
            return subprocess.CompletedProcess(command, status, output.read(), complaints.read())

    def _fork(
        self,
        command: Sequence[str],
        environ: Mapping[str, str],
        standard: Sequence[IO[Any]],
        output: IO[str] | None,
        is_detached: bool,
    ) -> ForkedProcess:
        """`standard` are its input, its output and its complaints; `output` is where this process can read them."""
        request = Request(command[1:], dict(environ), str(PROJECT), list(os.sched_getaffinity(0)), is_detached)
        end, their_end = os.pipe()
        try:
            with self._lock:
                descriptors = [*(each.fileno() for each in standard), their_end]
                socket.send_fds(self._control, [request.encode()], descriptors)
                pid = self._control.recv(16)
        finally:
            os.close(their_end)
        if not pid:
            raise ForkServerFailed("it has ended: its standard error output says why")
        return ForkedProcess(int(pid), output, end)

    def close(self) -> None:
        """End it, and whatever it has forked."""
        self._control.close()
        self._process.wait(10)


_servers: dict[int, ForkServer] = {}
"""By the process that has started each: a fork of this process has its own."""


def launch(command: Sequence[str], environ: Mapping[str, str], *, is_detached: bool) -> Launched:
    """Fork what can be forked, and start the rest."""
    server = _server()
    start = server.launch if server.can_run(command, environ) else launched
    return start(command, environ, is_detached=is_detached)


def run(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run `python` with `arguments` in the project's folder to its end, with `given` as its standard input.

    It is forked where brokers are.
    """
    command = (sys.executable, *arguments)
    if not IS_USED:
        return subprocess.run(
            command, input=given, capture_output=True, text=True, cwd=PROJECT, timeout=_LONGEST, check=False
        )
    return _server().run(command, {**os.environ, "PYTHONUNBUFFERED": "1"}, given)


def _server() -> ForkServer:
    server = _servers.get(os.getpid())
    if server is None:
        server = _servers[os.getpid()] = ForkServer()
    return server


def close() -> None:
    """End the fork server of this process, if there is one."""
    if server := _servers.pop(os.getpid(), None):
        server.close()


def _of_the_interpreter(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name.startswith(_OF_THE_INTERPRETER)}


def _is_readable(descriptor: int, timeout: float | None) -> bool:
    """Return whether there is something to read, or the end; wait so many seconds for it, or as long as it takes."""
    ready = select.poll()
    ready.register(descriptor, select.POLLIN)
    return bool(ready.poll(None if timeout is None else max(0.0, timeout) * 1000))
