"""A server and every process it makes: started, stopped, killed, frozen, and never left behind.

Knows process ids and signals; must not know what the server serves.
"""

from __future__ import annotations

import contextlib
import pwd
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

# Reads the process id of each life of the server. When the pipe ends, because its writer has ended in whatever way, it
# ends the server too: with SIGQUIT, because PostgreSQL then takes its children along, even suspended ones.
WATCHDOG = """
pid=
while read -r line; do pid=$line; done
if [ -n "$pid" ]; then
  kill -CONT "$pid"; kill -QUIT "$pid"; tries=0
  while kill -0 "$pid" && [ $tries -lt 70 ]; do sleep 0.1; tries=$((tries + 1)); done
  kill -KILL "$pid"
fi
rm -rf -- "$1"
"""


class ServerFailed(Exception):
    """A server did not do what it was asked; the text ends with its log."""


def wait_until(condition: Callable[[], bool], deadline: float, what: str) -> None:
    """Return when `condition` holds; raise `ServerFailed` when it does not within `deadline` seconds."""
    end = time.monotonic() + deadline
    while not condition():
        if time.monotonic() > end:
            raise ServerFailed(f"{what}: not within {deadline} s")
        time.sleep(0.02)


class ServerProcess:
    """One server over any number of lives, in a directory that goes when it is closed or this process dies."""

    def __init__(self, command: Sequence[str], directory: Path, *, user: str | None = None) -> None:
        self._command = command
        self._directory = directory
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog = subprocess.Popen(
            ["/bin/sh", "-c", WATCHDOG, "watchdog", str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The process id of the present life."""
        return self._running().pid

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def spawn(self, log: Path) -> None:
        """Start the server, which appends its log to `log`; it has not done anything yet when this returns."""
        assert not self.is_running(), "the server runs already"
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=self._directory,
                start_new_session=True,
                **as_user(self._user),
            )
        self._tell_watchdog(str(self._process.pid))

    def end(self, how: signal.Signals, deadline: float) -> None:
        """Ask the server to stop and return when it has; kill it when it has not within `deadline` seconds."""
        self.resume()
        self._running().send_signal(how)
        try:
            self._running().wait(deadline)
        except subprocess.TimeoutExpired:
            self.kill9()
            raise ServerFailed(f"still running {deadline} s after {how.name}") from None
        self._tell_watchdog("")

    def kill9(self) -> None:
        """Kill the server and all its processes without warning; when this returns they are dead."""
        processes = self._freeze()
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._running().kill()
        self._running().wait(10)
        wait_until(lambda: not any(map(is_alive, processes)), 10, "killed processes have ended")
        self._tell_watchdog("")

    def suspend(self) -> None:
        """Stop the server and all its processes from doing anything, with their sockets open."""
        self._freeze()

    def resume(self) -> None:
        """Let all processes go on; nothing happens when they do."""
        for process in [*self._children(), psutil.Process(self.pid)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def close(self) -> None:
        """Kill the server if it runs and remove its directory."""
        if self.is_running():
            self.kill9()
        assert self._watchdog.stdin is not None
        self._watchdog.stdin.close()
        self._watchdog.wait(20)

    def _freeze(self) -> list[psutil.Process]:
        """Suspend the server first, so that it makes no further processes, then its children, and return these."""
        server = psutil.Process(self.pid)
        server.suspend()
        wait_until(lambda: is_frozen(server), 10, "the server is suspended")
        while True:
            children = self._children()
            moving = [child for child in children if not is_frozen(child)]
            if not moving:
                return children
            for child in moving:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.suspend()
            time.sleep(0.001)

    def _children(self) -> list[psutil.Process]:
        found: list[psutil.Process] = psutil.Process(self.pid).children(recursive=True)
        return found

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the server was not started"
        return self._process

    def _tell_watchdog(self, line: str) -> None:
        assert self._watchdog.stdin is not None
        self._watchdog.stdin.write(f"{line}\n".encode())
        self._watchdog.stdin.flush()


def as_user(user: str | None) -> dict[str, Any]:
    """The arguments of `subprocess` for a process of `user`, or of the present one."""
    return {} if user is None else {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


def is_alive(process: psutil.Process) -> bool:
    """Whether the process still runs; one whose parent has not asked for its exit code does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def is_frozen(process: psutil.Process) -> bool:
    """Whether the process will do nothing until it is resumed, because it is suspended or dead."""
    try:
        return process.status() in {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE}
    except psutil.NoSuchProcess:
        return True
