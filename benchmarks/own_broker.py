"""Runs the broker under test as a child process, alone or as a cluster, and removes its data afterwards."""

import shutil
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from itertools import permutations
from pathlib import Path

from benchmarks.address import Address
from benchmarks.client import Client
from benchmarks.deliveries import PeerFault
from benchmarks.nodes import turns
from benchmarks.nodes.configuration import Membership, NodeConfiguration, Rhythm
from benchmarks.nodes.ports import quiet_port
from benchmarks.nodes.process import BROKER, BrokerFailed, BrokerProcess

START_LIMIT = 60.0
STOP_LIMIT = 20.0


class OwnBroker:
    """A broker process in a directory of its own, which the benchmark may kill."""

    def __init__(
        self,
        home: Path,
        configuration: NodeConfiguration | None = None,
        cores: Collection[int] = (),
        environ: Mapping[str, str] | None = None,
        command: Sequence[str] = BROKER,
    ) -> None:
        """Without a configuration the broker is standalone and stores messages in a file below `home`."""
        self._home = home
        self._process = BrokerProcess(home, configuration, command=command, cores=cores, environ=environ)
        self.address = Address(port=self._process.port)

    @classmethod
    def standalone(
        cls,
        cores: Collection[int],
        parent: Path | None = None,
        store: str = "",
        environ: Mapping[str, str] | None = None,
    ) -> "OwnBroker":
        """Return a standalone broker with a home below `parent`, the database at the URL `store`, and `environ` in its
        environment.
        """
        home = Path(tempfile.mkdtemp(prefix="cordillera-bench-", dir=parent))
        url = store or f"jdbc:sqlite:{home}/mb.db"
        return cls(home, NodeConfiguration(url, given_id="bench"), cores, environ)

    @classmethod
    def managed(cls, cores: Collection[int], parent: Path | None = None) -> "OwnBroker":
        """Likewise, with the HTTP API, the console and metrics; its turns of the loop can be timed at `turns`."""
        home = Path(tempfile.mkdtemp(prefix="cordillera-bench-", dir=parent))
        configuration = NodeConfiguration(
            f"jdbc:sqlite:{home}/mb.db",
            given_id="bench",
            http_port=quiet_port(),
            metrics_port=quiet_port(),
            console_port=quiet_port(),
        )
        return cls(home, configuration, cores, {turns.SOCKET: str(home / "turns")}, turns.COMMAND)

    @property
    def configuration(self) -> NodeConfiguration:
        """What it is configured with."""
        return self._process.configuration

    @property
    def turns(self) -> Path:
        """Where the turns of the loop of a `managed` broker are timed."""
        return self._home / "turns"

    @property
    def pid(self) -> int:
        """The process id of the running broker."""
        return self._process.pid

    @property
    def log(self) -> str:
        """The broker's output."""
        return self._process.log

    @property
    def config(self) -> Path:
        """The folder of its configuration."""
        return self._process.config

    def start(self, *, wait: bool = True) -> None:
        """Start the process on its cores; with `wait`, return once it accepts connections."""
        if wait:
            self._process.start(START_LIMIT)
        else:
            self._process.spawn()

    def connect(self, limit: float) -> Client:
        """Try to connect until it succeeds, for at most `limit` seconds."""
        until = time.monotonic() + limit
        while True:
            try:
                return Client(self.address)
            except (OSError, PeerFault) as error:
                if not self._process.is_running() or time.monotonic() > until:
                    raise RuntimeError(f"no connection to {self.address}: {error}\n{self.log[-2000:]}") from error
                time.sleep(0.005)

    def wait_for_member(self, other: "OwnBroker", limit: float) -> None:
        """Wait until this node has seen `other` join the cluster."""
        self._process.output.wait_for("Member joined", limit, member=other._process.node_id)

    def save_log(self, folder: Path) -> None:
        """Write the broker's output beside the results."""
        (folder / "broker.log").write_text(self.log)

    def kill(self) -> None:
        """Kill the process, as in a crash."""
        self._process.close()

    def ask_to_stop(self) -> None:
        """Ask the broker to stop, and return at once."""
        if self._process.is_running():
            self._process.terminate()

    def stop(self) -> None:
        """Stop the process, by killing it if necessary, and remove its data."""
        self.ask_to_stop()
        if self._process.is_running():
            with suppress(BrokerFailed):  # it has not stopped in time, and is killed below
                self._process.ended(STOP_LIMIT)
        self._process.close()
        shutil.rmtree(self._home, ignore_errors=True)


class OwnCluster:
    """A context manager that runs `size` nodes on the database at the URL `store`; the first one coordinates."""

    def __init__(
        self, size: int, store: str, rhythm: Rhythm, *, meets_as_peers: bool = False, command: Sequence[str] = BROKER
    ) -> None:
        """The nodes meet in the database or as peers; `command` starts another version of the broker."""
        self._home = Path(tempfile.mkdtemp(prefix="cordillera-bench-cluster-"))
        base_port, thrift_port, member_port = quiet_port(size), quiet_port(size), quiet_port(size)
        peers = size if meets_as_peers else 0
        self.nodes = [
            OwnBroker(
                self._home / f"node{number}",
                NodeConfiguration(
                    store,
                    base_port,
                    given_id=f"bench-{number}",
                    membership=Membership(number, thrift_port, rhythm, peers=peers, member_port=member_port),
                ),
                command=command,
            )
            for number in range(size)
        ]

    def __enter__(self) -> "OwnCluster":
        try:
            for node in self.nodes:
                node.start()
            for node, other in permutations(self.nodes, 2):
                node.wait_for_member(other, START_LIMIT)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.ask_to_stop()
        for node in self.nodes:
            node.stop()
        shutil.rmtree(self._home, ignore_errors=True)

    @property
    def addresses(self) -> list[Address]:
        """The addresses at which the nodes accept clients."""
        return [node.address for node in self.nodes]
