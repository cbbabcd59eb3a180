"""Ports for servers that come and go.

Knows the kernel's range of ephemeral ports; must not know who listens.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Sequence

HOST = "127.0.0.1"
QUIET = range(15_000, 30_000)
"""Below the range from which outgoing connections get their ports.

In that range a client that keeps trying while its server is down may be given the server's own port: it then talks to
itself, and the server cannot return.
"""


class QuietPorts:
    """Hands out ports of `within` that nobody listens on, none of them twice until all have been had."""

    def __init__(self, within: Sequence[int], start: int) -> None:
        """`start` is where in `within` to begin: processes that share it had better begin in different places."""
        self._within = within
        self._next = start % len(within)

    def take(self, count: int = 1) -> int:
        """Return the first of `count` successive ports."""
        while True:
            if self._next + count > len(self._within):
                self._next = 0
            ports = self._within[self._next : self._next + count]
            self._next += count
            if all(map(is_free, ports)):
                return ports[0]


def is_free(port: int) -> bool:
    """Return whether nobody listens on a port of the loopback address now."""
    with socket.socket() as probe:
        # As a listener does: connections that have ended keep nobody from the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


_ports = QuietPorts(QUIET, random.randrange(len(QUIET)))


def share_ports(share: int, shares: int) -> None:
    """Let this process use only one of so many equal shares, so that processes beside it never race for a port."""
    global _ports
    size = len(QUIET) // shares
    _ports = QuietPorts(QUIET[share * size : (share + 1) * size], random.randrange(size))


def quiet_port(count: int = 1) -> int:
    """Return a port nobody listens on, the first of `count` successive ones."""
    return _ports.take(count)
