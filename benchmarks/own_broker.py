"""The broker under test as a child process: configuration, start, kill, restart, stop."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from xml.sax.saxutils import escape

from benchmarks.address import Address
from benchmarks.client import Client
from benchmarks.deliveries import PeerFault

START_LIMIT = 60.0

BROKER_XML = """<?xml version="1.0" encoding="ISO-8859-1"?>
<broker>
  <coordination>
    <nodeID>bench</nodeID>
    <thriftServerPort>{thrift_port}</thriftServerPort>
  </coordination>
  <transports>
    <amqp enabled="true">
      <bindAddress>127.0.0.1</bindAddress>
      <defaultConnection enabled="true" port="{port}" />
      <sslConnection enabled="false" port="{tls_port}" />
    </amqp>
  </transports>
  <persistence>
    <messageStore class="org.wso2.andes.store.rdbms.RDBMSMessageStoreImpl">
      <property name="dataSource">WSO2MBStoreDB</property>
    </messageStore>
    <contextStore class="org.wso2.andes.store.rdbms.RDBMSAndesContextStoreImpl">
      <property name="dataSource">WSO2MBStoreDB</property>
    </contextStore>
  </persistence>
  <deployment>
    <mode>standalone</mode>
  </deployment>
</broker>
"""

DATASOURCES_XML = """<?xml version="1.0" encoding="UTF-8"?>
<datasources-configuration>
  <datasources>
    <datasource>
      <name>WSO2_MB_STORE_DB</name>
      <jndiConfig><name>WSO2MBStoreDB</name></jndiConfig>
      <definition type="RDBMS">
        <configuration>
          <url>{url}</url>
        </configuration>
      </definition>
    </datasource>
  </datasources>
</datasources-configuration>
"""


def free_port() -> int:
    """Return a loopback port nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class OwnBroker:
    """Runs `python -m broker` on a configuration and a data directory of its own."""

    def __init__(self, cores: set[int], parent: Path | None = None, store: str = "") -> None:
        """Keep messages in the database that `store` is the URL of, by default in a file of the data directory."""
        self._cores = cores
        self._home = Path(tempfile.mkdtemp(prefix="cordillera-bench-", dir=parent))
        self._process: subprocess.Popen[bytes] | None = None
        self.address = Address(port=free_port())
        datasources = self._home / "conf" / "datasources"
        datasources.mkdir(parents=True)
        ports = {"port": self.address.port, "thrift_port": free_port(), "tls_port": free_port()}
        (self._home / "conf" / "broker.xml").write_text(BROKER_XML.format(**ports))
        url = escape(store or f"jdbc:sqlite:{self._home / 'mb.db'}")
        (datasources / "master-datasources.xml").write_text(DATASOURCES_XML.format(url=url))

    @property
    def pid(self) -> int:
        """The process id of the running broker."""
        if self._process is None:
            raise RuntimeError("the broker is not running")
        return self._process.pid

    @property
    def log(self) -> Path:
        """Where the broker's output goes."""
        return self._home / "broker.log"

    def start(self, *, wait: bool = True) -> None:
        """Start the process on its cores; with `wait`, return once it takes connections."""
        command = [sys.executable, "-m", "broker", "--config", str(self._home / "conf" / "broker.xml")]
        before = os.sched_getaffinity(0)
        try:
            # A child inherits the affinity of its parent, threads it makes later included.
            if self._cores:
                os.sched_setaffinity(0, self._cores)
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=Path(__file__).parents[1]
                )
        finally:
            os.sched_setaffinity(0, before)
        if wait:
            self.connect(START_LIMIT).close()

    def connect(self, limit: float) -> Client:
        """Connect as soon as that is possible."""
        until = time.monotonic() + limit
        while True:
            try:
                return Client(self.address)
            except (OSError, PeerFault) as error:
                self._check_alive()
                if time.monotonic() > until:
                    raise RuntimeError(f"the broker takes no connections after {limit:.0f} s: {error}") from error
                time.sleep(0.005)

    def _check_alive(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            tail = self.log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"the broker ended with code {self._process.returncode}:\n{tail}")

    def save_log(self, folder: Path) -> None:
        """Copy the broker's output beside the results."""
        shutil.copy(self.log, folder / "broker.log")

    def kill(self) -> None:
        """End the process as a crash would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def stop(self) -> None:
        """Stop the process and remove its data."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
        shutil.rmtree(self._home, ignore_errors=True)
