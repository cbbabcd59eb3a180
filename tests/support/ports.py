"""Ports for servers that come and go.

Knows the kernel's range of ephemeral ports; must not know who listens.
"""

from __future__ import annotations

import random
import socket


def quiet_port() -> int:
    """Return a port nobody listens on, below the range from which outgoing connections get theirs.

    In that range a client that keeps trying while its server is down may be given the server's own port: it then talks
    to itself, and the server cannot return.
    """
    while True:
        port = random.randrange(15_000, 30_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
