"""The broker as a process of its own: started, killed, suspended, stopped and started again on one data directory.

Knows the command line, signals and the lines it logs; must not know AMQP.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol

from benchmarks.nodes.configuration import NodeConfiguration
from benchmarks.nodes.log import NodeLog

READY = "Server startup complete"
PROJECT = Path(__file__).parents[2]
BROKER = (sys.executable, "-m", "broker")

_KILL_DEADLINE = 10.0
_NOT_HANDED_ON = frozenset(
    ("BROKER_PORT_OFFSET", "RABBITMQ_NODE_PORT", "RABBITMQ_DEFAULT_USER", "RABBITMQ_DEFAULT_PASS")
)
"""Variables of the environment that would win over the files written here."""


class BrokerFailed(RuntimeError):
    """The broker did not start or did not stop; the text ends with its log."""


class Launched(Protocol):
    """What a node needs of the process that it was started in; `subprocess.Popen` has it."""

    pid: int
    stdout: IO[str] | None
    """Standard output, and standard error with it."""

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def kill(self) -> None: ...
    def terminate(self) -> None: ...


class Launch(Protocol):
    """Starts a process in the project's folder, on the cores that this thread may use."""

    def __call__(self, command: Sequence[str], environ: Mapping[str, str], *, is_detached: bool) -> Launched: ...


def launched(command: Sequence[str], environ: Mapping[str, str], *, is_detached: bool) -> Launched:
    """Start a new process; keys of the terminal do not reach one that `is_detached`."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        cwd=PROJECT,
        env=environ,
        start_new_session=is_detached,
    )


_launch: Launch = launched


def launch_by(launch: Launch) -> None:
    """Start the brokers of this process in another way from now on."""
    global _launch
    _launch = launch


class BrokerProcess:
    """One broker on one directory, over any number of process lives; `conf` and `data` are made in it."""

    def __init__(
        self,
        directory: Path,
        configuration: NodeConfiguration | None = None,
        *,
        command: Sequence[str] = BROKER,
        environ: Mapping[str, str] | None = None,
        cores: Collection[int] = (),
        is_detached: bool = False,
    ) -> None:
        """Without a configuration it is standalone on a SQLite file in its data directory.

        It runs on `cores`, or on any, and has `environ` in its environment. Keys of the terminal do not reach one that
        `is_detached`.
        """
        self.config = directory / "conf"
        data = directory / "data"
        self.configuration = configuration or NodeConfiguration(f"jdbc:sqlite:{data}/mb.db")
        self.configuration.write(self.config)
        data.mkdir()
        self.host, self.port = self.configuration.host, self.configuration.port
        self.output = NodeLog()
        self.is_suspended = False
        self._command = [*command, "--config", str(self.config)]
        kept = {name: value for name, value in os.environ.items() if name not in _NOT_HANDED_ON}
        home = {"XDG_STATE_HOME": str(data)}
        self._environ = {**kept, **home, **(environ or {}), "PYTHONUNBUFFERED": "1"}
        self._cores = cores
        self._is_detached = is_detached
        self._process: Launched | None = None
        self._reader: threading.Thread | None = None
        self._settled = threading.Event()
        self.exit_code: int | None = None
        """How the last process ended; None while one runs, and before the first."""

    def __repr__(self) -> str:
        return f"<node {self.number} :{self.port}>"

    @property
    def number(self) -> int:
        """Its port offset."""
        return self.configuration.number

    @property
    def node_id(self) -> str:
        """What it is called in the database and in logs."""
        return self.configuration.node_id

    @property
    def url(self) -> str:
        """The address for clients."""
        return f"amqp://guest:guest@{self.host}:{self.port}/"

    @property
    def pid(self) -> int:
        """The process id of the broker, which runs."""
        return self._running().pid

    @property
    def log(self) -> str:
        """The last lines the broker wrote, over all of its processes."""
        return self.output.text

    def is_running(self) -> bool:
        """Return whether there is a process, suspended or not."""
        return self._process is not None and self._process.poll() is None

    def start(self, deadline: float = 30.0) -> None:
        """Start the broker and return when it says that it is ready."""
        self.spawn()
        if not self._settled.wait(deadline) or not self.is_running():
            process = self._running()
            code = process.poll()
            self.kill9()
            state = f"not ready after {deadline} s" if code is None else f"ended with exit code {code}"
            raise BrokerFailed(f"{' '.join(self._command)}: {state}\n{self.log}")

    def spawn(self) -> None:
        """Start the broker and return at once."""
        self._forget()
        self._settled.clear()
        self.is_suspended = False
        self.exit_code = None
        before = os.sched_getaffinity(0)
        try:
            # A child inherits the affinity of its parent, threads it makes later included.
            if self._cores:
                os.sched_setaffinity(0, self._cores)
            process = self._process = _launch(self._command, self._environ, is_detached=self._is_detached)
        finally:
            os.sched_setaffinity(0, before)
        self._reader = threading.Thread(target=self._read, args=(process,), daemon=True)
        self._reader.start()

    def refused(self, deadline: float = 30.0) -> int:
        """Start a broker that is to refuse; return its exit code."""
        try:
            self.start(deadline)
        except BrokerFailed:
            if self.exit_code is not None and self.exit_code >= 0:
                return self.exit_code
            raise
        self.kill9()
        raise BrokerFailed(f"the broker has started\n{self.log}")

    def _read(self, process: Launched) -> None:
        assert process.stdout is not None
        for line in self.output.read(process.stdout):
            if READY in line:
                self._settled.set()
        self.exit_code = process.wait()
        self._settled.set()

    def suspend(self) -> None:
        """Let the broker do nothing, with all its sockets open."""
        os.kill(self.pid, signal.SIGSTOP)
        self.is_suspended = True

    def resume(self) -> None:
        """Let a broker that was suspended go on."""
        if self.is_suspended:
            os.kill(self.pid, signal.SIGCONT)
            self.is_suspended = False

    def kill9(self) -> None:
        """Kill the broker without warning; when this returns it is dead."""
        self._running().kill()
        self._await_end(_KILL_DEADLINE)

    def terminate(self) -> None:
        """Ask the broker to stop and do not wait."""
        self.resume()
        self._running().terminate()

    def stop(self, deadline: float = 30.0, *, then: Callable[[], None] | None = None) -> int:
        """Ask the broker to stop, do what clients do `then`, and return its exit code."""
        self.terminate()
        if then is not None:
            then()
        return self.ended(deadline)

    def ended(self, deadline: float = 30.0) -> int:
        """Wait until a broker that was asked to stop has ended; return its exit code."""
        try:
            return self._await_end(deadline)
        except subprocess.TimeoutExpired:
            self.kill9()
            raise BrokerFailed(f"still running {deadline} s after SIGTERM\n{self.log}") from None

    def restart(self, *, then: Callable[[], None] | None = None) -> None:
        """Stop the broker and start it again on the same directory and port; see `stop` for `then`."""
        self.stop(then=then)
        self.start()

    def close(self) -> None:
        """Kill the broker if it still runs, and leave nothing of it behind."""
        if self._process is not None:
            self.kill9()

    def _await_end(self, deadline: float) -> int:
        process = self._running()
        code = process.wait(deadline)
        self._forget()
        self.is_suspended = False
        return code

    def _forget(self) -> None:
        if self._process is not None:
            assert self._process.poll() is not None, "the broker runs already"
            if self._reader is not None:
                self._reader.join()
            if self._process.stdout is not None:
                self._process.stdout.close()
        self._process = None

    def _running(self) -> Launched:
        assert self._process is not None, "the broker was not started"
        return self._process
