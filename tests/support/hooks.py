"""Hooks in a node's process: calls to other nodes take a detour, and two signals move the wall clock.

Knows where the broker can be hooked; must not know who else is there.
"""

from __future__ import annotations

import os
import signal
import sys

from benchmarks.nodes.process import BrokerProcess

_FORWARD, _BACK = signal.SIGUSR1, signal.SIGUSR2

_HOOKS = """\
import signal, sys, time
from broker.clock import SystemClock
from broker.thrift.connection import ClientConnection
from broker.__main__ import main
detours, jumped, opened = {detours!r}, [0], ClientConnection.open.__func__
async def detoured(cls, host, port, *rest):
    return await opened(cls, host, detours.get(port, port), *rest)
ClientConnection.open = classmethod(detoured)
SystemClock.wall_ms = lambda self: time.time_ns() // 1_000_000 + jumped[0]
def jump(number, frame):
    jumped[0] += 3_600_000 if number == signal.SIGUSR1 else -3_600_000
signal.signal(signal.SIGUSR1, jump)
signal.signal(signal.SIGUSR2, jump)
sys.exit(main(sys.argv[1:]))
"""


def hooked(detours: dict[int, int]) -> tuple[str, ...]:
    """Return the command of a broker that calls `detours[port]` instead of another node's port, and that can `jump`."""
    return (sys.executable, "-c", _HOOKS.format(detours=detours))


def jump(node: BrokerProcess, *, is_forward: bool) -> None:
    """Move the wall clock of a node that is `hooked` by an hour."""
    os.kill(node.pid, _FORWARD if is_forward else _BACK)
