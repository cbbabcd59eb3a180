"""One node of a cluster as a process of its own, over any number of incarnations, and what its log says.

Knows a process, its signals and the lines it writes; must not know other nodes.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.support.broker_process import BROKER, BrokerFailed, BrokerProcess
from tests.support.cluster_files import BACK, FORWARD, Ports, Rhythm, write_configuration
from tests.support.wire import Wire

DEADLINE = 30.0


class ClusterNode:
    """A node with its configuration folder; `number` is its port offset."""

    host = "127.0.0.1"

    def __init__(
        self,
        directory: Path,
        ports: Ports,
        number: int,
        rhythm: Rhythm,
        store_url: str,
        *,
        command: Sequence[str] = BROKER,
        node_id: str = "default",
        window_size: int = 1000,
        is_clustered: bool = True,
    ) -> None:
        """`node_id` is made of the member's port without one, as WSO2 does it."""
        self.number = number
        self.node_id = f"NODE:127.0.0.1:{4000 + number}" if node_id == "default" else node_id
        self.thrift_port = ports.thrift + number
        directory.mkdir(parents=True)
        self._process = BrokerProcess(directory, store_url=store_url, command=command)
        self._process.port = ports.amqp + number
        self.config = self._process.config
        write_configuration(
            self.config, ports, number, rhythm, node_id=node_id, window_size=window_size, is_clustered=is_clustered
        )
        self.is_suspended = False

    def __repr__(self) -> str:
        return f"<node {self.number} :{self.port}>"

    @property
    def port(self) -> int:
        """Where it listens for clients."""
        return self._process.port

    @property
    def url(self) -> str:
        return self._process.url

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        """The last lines it wrote, over all of its incarnations."""
        return self._process.log

    def is_running(self) -> bool:
        return self._process.is_running()

    def start(self, deadline: float = DEADLINE) -> None:
        """Start the node and return when it serves clients."""
        self.is_suspended = False
        self._process.start(deadline)

    def refused(self, deadline: float = DEADLINE) -> int:
        """Start a node that is to refuse; return its exit code."""
        try:
            self._process.start(deadline)
        except BrokerFailed as failure:
            code = str(failure).splitlines()[0].rpartition("exit code ")[2]
            if code.lstrip("-").isdigit():
                return int(code)
            raise
        self._process.kill9()
        raise BrokerFailed(f"the node has started\n{self.log}")

    def stop(self, deadline: float = DEADLINE) -> int:
        """Ask the node to stop; return its exit code."""
        self.resume()
        return self._process.stop(deadline)

    def terminate(self) -> None:
        """Ask the node to stop and do not wait."""
        os.kill(self.pid, signal.SIGTERM)

    def kill9(self) -> None:
        """Kill the node; when this returns it is dead."""
        self.is_suspended = False
        self._process.kill9()

    def suspend(self) -> None:
        """Let the node do nothing, with all its sockets open."""
        os.kill(self.pid, signal.SIGSTOP)
        self.is_suspended = True

    def resume(self) -> None:
        """Let a node that was suspended go on."""
        if self.is_suspended:
            os.kill(self.pid, signal.SIGCONT)
            self.is_suspended = False

    def jump(self, *, is_forward: bool) -> None:
        """Move the wall clock of this node by an hour; only a node that is hooked survives it."""
        os.kill(self.pid, FORWARD if is_forward else BACK)

    def close(self) -> None:
        """Kill the node if it runs."""
        self._process.close()

    def connect(self, timeout: float = 20.0) -> Wire:
        """Return a client of this node with channel 1 open."""
        return Wire(self.host, self.port, timeout=timeout)

    def mark(self) -> int:
        """Return how many lines there are now, for `since`."""
        return len(self.log.splitlines())

    def events(self, name: str, *, since: int = 0, **fields: object) -> list[dict[str, Any]]:
        """Return the log's events of that name which have these fields, oldest first."""
        found = []
        for line in self.log.splitlines()[since:]:
            if name in line and line.startswith("{"):
                event = json.loads(line)
                if event.get("event") == name and all(event.get(key) == value for key, value in fields.items()):
                    found.append(event)
        return found

    def wait_for(self, name: str, deadline: float = DEADLINE, *, since: int = 0, **fields: object) -> dict[str, Any]:
        """Return the first such event when there is one."""
        wait_until(
            lambda: bool(self.events(name, since=since, **fields)), deadline, f"{self}: {name!r} {fields}", [self]
        )
        return self.events(name, since=since, **fields)[0]


class ClusterFailed(Exception):
    """What was waited for did not happen; the text ends with the logs."""


def wait_until(condition: Callable[[], bool], deadline: float, what: str, nodes: Sequence[ClusterNode] = ()) -> None:
    """Return when `condition` holds; raise with the ends of the nodes' logs when it does not within `deadline` s."""
    end = time.monotonic() + deadline
    while not condition():
        if time.monotonic() > end:
            logs = "\n".join(f"--- {node}\n" + "\n".join(node.log.splitlines()[-40:]) for node in nodes)
            raise ClusterFailed(f"{what}: not within {deadline} s\n{logs}")
        time.sleep(0.02)
