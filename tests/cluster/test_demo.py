"""The demo: a run without a terminal, with its keys through a pipe."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from benchmarks.nodes.process import PROJECT
from tests.support.databases import DatabaseServer
from tests.support.waiting import ClusterFailed, wait_until


class Demo:
    """A demo under way and everything it has written."""

    def __init__(self, url: str, nodes: int, *options: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.demo", str(nodes), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=PROJECT,
            env=os.environ | {"CORDILLERA_DEMO_DATABASE": url},
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip())

    def press(self, key: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(key)
        self._process.stdin.flush()

    def wait_for(self, *words: str, deadline: float = 30.0) -> str:
        """Return the first line, of those written from now on, that has all of these words."""
        since = len(self.lines)
        found: list[str] = []

        def has_come() -> bool:
            found.extend(line for line in self.lines[since:] if all(word in line for word in words))
            return bool(found)

        try:
            wait_until(has_come, deadline, f"a line with {words}")
        except ClusterFailed as error:
            raise ClusterFailed("\n".join((str(error), "the last lines are", *self.lines[-15:]))) from None
        return found[0]

    @property
    def nodes(self) -> list[psutil.Process]:
        """The processes of its nodes."""
        found: list[psutil.Process] = psutil.Process(self._process.pid).children()
        return found

    def end(self) -> int:
        """Wait for its end; return the exit code."""
        try:
            return self._process.wait(30)
        finally:
            self.close()

    def close(self) -> None:
        if self._process.poll() is None:
            for node in self.nodes:
                node.kill()
            self._process.kill()
            self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def demo(server: DatabaseServer, nodes: int, *options: str) -> Iterator[Demo]:
    database = server.create_database()
    running = Demo(server.jdbc_url(database), nodes, *options)
    try:
        yield running
    finally:
        running.close()
        server.drop_database(database)


def test_the_demo_shows_nodes_that_are_killed_and_started_by_a_key(mariadb: DatabaseServer) -> None:
    with demo(mariadb, 2) as running:
        running.wait_for("demo-", "member")
        elected = running.wait_for("demo-", "coordinator").split()[0]  # either may be first
        other = {"1": "2", "2": "1"}[elected]
        nodes = running.nodes
        running.press(elected)
        running.wait_for(f"demo-{elected}", "killed")
        running.wait_for(f"demo-{other}", "coordinator")
        running.press(elected)
        running.wait_for(f"demo-{elected}", "member")
        nodes += running.nodes
        running.press("q")
        assert running.end() == 0
    assert not any(node.is_running() for node in nodes)
    assert "Traceback" not in "\n".join(running.lines)


@pytest.mark.slow
def test_the_demo_of_peers_shows_a_node_that_is_cut_off_and_comes_back_by_a_key(mariadb: DatabaseServer) -> None:
    with demo(mariadb, 3, "--coordination", "peers") as running:
        running.wait_for("demo-", "coordinator", deadline=60.0)
        for number in "123":
            running.wait_for(f"demo-{number}", "m", deadline=60.0)
        running.press("c")
        running.wait_for("demo-3", "cut off")
        running.press("c")
        running.wait_for("demo-3", "member")
        running.press("q")
        assert running.end() == 0
    assert "Traceback" not in "\n".join(running.lines)
