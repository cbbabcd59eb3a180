"""A broker that tells how long its longest turn of the loop was while somebody asks it something.

`python -m benchmarks.nodes.turns` is `python -m broker` with a UNIX socket at `CORDILLERA_TURNS`: as long as a
connection there is open, the loop never waits, so that each of its turns can be timed. A turn is what everybody else
waits for; its CPU time says how much of it is the broker's own, whatever else the machine does.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from broker.__main__ import main
from broker.node.loop_lag import LoopLag

SOCKET: Final = "CORDILLERA_TURNS"
COMMAND: Final = (sys.executable, "-m", "benchmarks.nodes.turns")


class Turns:
    """Times turns of the running loop."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0
        self._loop = asyncio.get_running_loop()
        self._is_on = True
        self._last = time.monotonic(), time.thread_time()
        self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        now = time.monotonic(), time.thread_time()
        self.wall = max(self.wall, now[0] - self._last[0])
        self.cpu = max(self.cpu, now[1] - self._last[1])
        self._last = now
        if self._is_on:
            self._loop.call_soon(self._turn)

    def end(self) -> None:
        """Look no longer: the loop waits again."""
        self._is_on = False


async def _time_turns(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    turns = Turns()
    try:
        writer.write(b"\n")
        await reader.readline()
        writer.write(json.dumps({"wall": turns.wall, "cpu": turns.cpu}).encode() + b"\n")
        await writer.drain()
    finally:
        turns.end()
        writer.close()


def serve_turns(path: str) -> None:
    """Let the node that this process starts time its turns for those who connect to `path`."""
    run = LoopLag.run

    async def run_beside(self: LoopLag, sleep: Callable[[float], Awaitable[None]]) -> None:
        async with await asyncio.start_unix_server(_time_turns, path):
            await run(self, sleep)

    LoopLag.run = run_beside  # type: ignore[method-assign]


class LongestTurn:
    """Seconds that the longest turn took."""

    wall = 0.0
    cpu = 0.0


def connected(path: Path) -> socket.socket:
    """Return a connection to a UNIX socket."""
    made = socket.socket(socket.AF_UNIX)
    try:
        made.connect(str(path))
    except OSError:
        made.close()
        raise
    return made


@contextmanager
def longest_turn(path: Path) -> Iterator[LongestTurn]:
    """Time the turns of a broker while the block runs; the longest is known after it."""
    found = LongestTurn()
    with connected(path) as asked, asked.makefile("rwb") as stream:
        stream.readline()
        yield found
        stream.write(b"\n")
        stream.flush()
        told = json.loads(stream.readline())
        found.wall, found.cpu = told["wall"], told["cpu"]


if __name__ == "__main__":
    serve_turns(os.environ[SOCKET])
    sys.exit(main(sys.argv[1:]))
