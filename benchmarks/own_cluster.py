"""Several nodes of our broker on one database server: configuration, start, kill, stop."""

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from benchmarks.address import Address
from benchmarks.client import Client
from benchmarks.deliveries import PeerFault
from benchmarks.own_broker import DATASOURCES_XML, START_LIMIT, free_port

BROKER_XML = """<?xml version="1.0" encoding="UTF-8"?>
<broker>
  <coordination>
    <nodeID>bench-{number}</nodeID>
    <thriftServerHost>127.0.0.1</thriftServerHost>
    <thriftServerPort>{thrift_port}</thriftServerPort>
    <rdbmsBasedCoordination enabled="true">
      <heartbeatInterval>{rhythm.heartbeat_interval}</heartbeatInterval>
      <coordinatorEntryCreationWaitTime>{rhythm.creation_wait}</coordinatorEntryCreationWaitTime>
      <eventPollingInterval>{rhythm.polling_interval}</eventPollingInterval>
    </rdbmsBasedCoordination>
  </coordination>
  <transports>
    <amqp enabled="true">
      <bindAddress>127.0.0.1</bindAddress>
      <defaultConnection enabled="true" port="{port}" />
    </amqp>
  </transports>
</broker>
"""
AXIS2_XML = '<axisconfig><clustering enable="true"/></axisconfig>'
JOINED = '"Member joined"'


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How fast a cluster notices things, in milliseconds and in the words of broker.xml."""

    name: str
    heartbeat_interval: int
    creation_wait: int
    polling_interval: int


SHIPPED = Rhythm("as shipped", 5000, 3000, 4000)
FAST = Rhythm("heartbeatInterval 500", 500, 300, 400)


class OwnNode:
    """One node; the one that is started first coordinates."""

    def __init__(self, home: Path, number: int, store: str, rhythm: Rhythm) -> None:
        self.address = Address(port=free_port())
        self.log = home / f"node{number}.log"
        self._conf = home / f"node{number}"
        self._process: subprocess.Popen[bytes] | None = None
        (self._conf / "datasources").mkdir(parents=True)
        broker_xml = BROKER_XML.format(number=number, thrift_port=free_port(), port=self.address.port, rhythm=rhythm)
        (self._conf / "broker.xml").write_text(broker_xml)
        (self._conf / "axis2.xml").write_text(AXIS2_XML)
        datasources = DATASOURCES_XML.format(url=escape(store))
        (self._conf / "datasources" / "master-datasources.xml").write_text(datasources)

    def start(self) -> None:
        """Start the process and return when it takes connections."""
        command = [sys.executable, "-m", "broker", "--config", str(self._conf)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=Path(__file__).parents[1]
            )
        self.connect(START_LIMIT).close()

    def connect(self, limit: float) -> Client:
        """Connect as soon as that is possible."""
        until = time.monotonic() + limit
        while True:
            try:
                return Client(self.address)
            except (OSError, PeerFault) as error:
                ended = self._process is None or self._process.poll() is not None
                if ended or time.monotonic() > until:
                    tail = self.log.read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"no connection to {self.address}: {error}\n{tail}") from error
                time.sleep(0.005)

    def kill(self) -> None:
        """End the process as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def ask_to_stop(self) -> None:
        """Let the node leave in order, without waiting for it."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def await_end(self) -> None:
        """Wait until the process has ended."""
        if self._process is not None:
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


class OwnCluster:
    """So many nodes on the database that `store` is the URL of, while it is open."""

    def __init__(self, size: int, store: str, rhythm: Rhythm) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="cordillera-bench-cluster-"))
        self.nodes = [OwnNode(self._home, number, store, rhythm) for number in range(size)]

    def __enter__(self) -> "OwnCluster":
        try:
            for node in self.nodes:
                node.start()
            self._await_members()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.ask_to_stop()
        for node in self.nodes:
            node.await_end()
        shutil.rmtree(self._home, ignore_errors=True)

    @property
    def addresses(self) -> list[Address]:
        """Where the nodes take clients."""
        return [node.address for node in self.nodes]

    def _await_members(self) -> None:
        until = time.monotonic() + START_LIMIT
        while any(node.log.read_text(errors="replace").count(JOINED) < len(self.nodes) - 1 for node in self.nodes):
            if time.monotonic() > until:
                raise RuntimeError(f"the nodes do not find each other in {START_LIMIT:.0f} s")
            time.sleep(0.05)
