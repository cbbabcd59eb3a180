"""The broker as a process of its own: started, killed, stopped and started again on one data directory.

Knows the command line and the two configuration files it needs; must not know AMQP.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

READY = "Server startup complete"
PROJECT = Path(__file__).parents[2]
BROKER = (sys.executable, "-m", "broker")

BROKER_XML = """\
<broker>
  <transports>
    <amqp enabled="true">
      <bindAddress>127.0.0.1</bindAddress>
      <defaultConnection enabled="true" port="{port}"/>
    </amqp>
  </transports>
</broker>
"""

_DATASOURCES = """\
<datasources-configuration>
  <datasources>
    <datasource>
      <name>WSO2_MB_STORE_DB</name>
      <jndiConfig><name>WSO2MBStoreDB</name></jndiConfig>
      <definition type="RDBMS">
        <configuration>
          <url>{url}</url>
          <defaultAutoCommit>false</defaultAutoCommit>
        </configuration>
      </definition>
    </datasource>
  </datasources>
</datasources-configuration>
"""
DATASOURCES_XML = _DATASOURCES.replace("{url}", "jdbc:sqlite:{directory}/mb.db")


class BrokerFailed(Exception):
    """The broker did not start or did not stop; the text ends with its log."""


def free_port() -> int:
    """Return a port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class BrokerProcess:
    """One broker on one data directory and one port, over any number of lives."""

    host = "127.0.0.1"

    def __init__(self, directory: Path, *, command: Sequence[str] = BROKER, store_url: str = "") -> None:
        """`store_url` is the JDBC address of its store, a SQLite file in its data directory without one."""
        self.port = free_port()
        self.config = directory / "conf"
        self._data = directory / "data"
        self._command = [*command, "--config", str(self.config)]
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._settled = threading.Event()
        self._lines: deque[str] = deque(maxlen=20_000)
        (self.config / "datasources").mkdir(parents=True)
        self._data.mkdir()
        (self.config / "broker.xml").write_text(BROKER_XML.format(port=self.port))
        url = store_url or f"jdbc:sqlite:{self._data}/mb.db"
        (self.config / "datasources" / "master-datasources.xml").write_text(_DATASOURCES.format(url=escape(url)))

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@{self.host}:{self.port}/"

    @property
    def pid(self) -> int:
        """The process id of the present life."""
        return self._running().pid

    @property
    def log(self) -> str:
        """The last lines the broker wrote, over all of its lives."""
        return "\n".join(list(self._lines))

    def start(self, deadline: float = 30.0) -> None:
        """Start the broker and return when it says that it is ready."""
        self._settled.clear()
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd=PROJECT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        if not self._settled.wait(deadline) or self._process.poll() is not None:
            code = self._process.poll()
            self.kill9()
            state = f"not ready after {deadline} s" if code is None else f"ended with exit code {code}"
            raise BrokerFailed(f"{' '.join(self._command)}: {state}\n{self.log}")

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._lines.append(line.rstrip("\n"))
            if READY in line:
                self._settled.set()
        process.wait()
        self._settled.set()

    def kill9(self) -> None:
        """Kill the broker without warning; when this returns it is dead."""
        self._end(signal.SIGKILL, 10.0)

    def close(self) -> None:
        """Kill the broker if it still runs, and leave nothing of it behind."""
        if self._process is not None:
            self.kill9()

    def stop(self, deadline: float = 20.0, *, then: Callable[[], None] | None = None) -> int:
        """Ask the broker to stop, do what clients do `then`, and return its exit code."""
        process = self._running()
        try:
            self._end(signal.SIGTERM, deadline, then)
        except subprocess.TimeoutExpired:
            self.kill9()
            raise BrokerFailed(f"still running {deadline} s after SIGTERM\n{self.log}") from None
        return process.returncode

    def _end(self, how: signal.Signals, deadline: float, then: Callable[[], None] | None = None) -> None:
        process = self._running()
        process.send_signal(how)
        if then is not None:
            then()
        process.wait(deadline)
        if self._reader is not None:
            self._reader.join(deadline)
        if process.stdout is not None:
            process.stdout.close()
        self._process = None

    def restart(self, *, then: Callable[[], None] | None = None) -> None:
        """Stop the broker and start it again on the same directory and port; see `stop` for `then`."""
        self.stop(then=then)
        self.start()

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _running(self) -> subprocess.Popen[str]:
        assert self._process is not None, "the broker was not started"
        return self._process
