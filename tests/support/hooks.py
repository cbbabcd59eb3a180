"""Hooks in a node's process: calls to other nodes take a detour, and two signals move the wall clock.

Knows where the broker can be hooked; must not know who else is there.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time

from benchmarks.nodes.process import BrokerProcess
from tests.support.waiting import wait_until

_FORWARD, _BACK = signal.SIGRTMIN, signal.SIGRTMIN + 1
_MOVED = "the wall clock was moved"

_HOOKS = """\
import os, signal, sys, time
from broker.clock import SystemClock
from broker.coordination.peering.link import PeerLink
from broker.thrift.connection import ClientConnection
from broker.__main__ import main
detours, jumped = {detours!r}, [0]
def detour(cls):
    opened = cls.open.__func__
    async def detoured(cls, host, port, *rest):
        return await opened(cls, host, detours.get(port, port), *rest)
    cls.open = classmethod(detoured)
detour(ClientConnection)
detour(PeerLink)
SystemClock.wall_ms = lambda self: time.time_ns() // 1_000_000 + jumped[0]
def jump(number, frame):
    jumped[0] += 3_600_000 if number == {forward} else -3_600_000
    os.write(2, f"{moved} {{time.time_ns()}}\\n".encode())  # whole: the log is written beside it
signal.signal({forward}, jump)
signal.signal({back}, jump)
sys.exit(main(sys.argv[1:]))
"""


def hooked(detours: dict[int, int]) -> tuple[str, ...]:
    """Return the command of a broker that calls `detours[port]` instead of another node's port, and that can `jump`."""
    return (sys.executable, "-c", _HOOKS.format(detours=detours, forward=int(_FORWARD), back=int(_BACK), moved=_MOVED))


def jump(node: BrokerProcess, *, is_forward: bool) -> None:
    """Move the wall clock of a node that is `hooked` by an hour; return when it has moved."""
    asked_at = time.time_ns()
    os.kill(node.pid, _FORWARD if is_forward else _BACK)
    wait_until(lambda: _last_moved(node.log) > asked_at, 10.0, _MOVED, [node])


def _last_moved(log: str) -> int:
    """Return when the clock was moved last, as far as the log says."""
    return max(map(int, re.findall(rf"^{_MOVED} (\d+)$", log, re.M)), default=0)
