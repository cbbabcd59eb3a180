"""The address of this machine, as other machines see it. Asks the system which way it would go; sends nothing."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from broker.machine.address import ip_address

_DOCUMENTATION: Final = ("192.0.2.1", "2001:db8::1")
"""Addresses that nobody has (RFC 5737, RFC 3849): the way to them is the way to everywhere."""
_LOOPBACK: Final = "127.0.0.1"
_DISCARD: Final = 9


def way_to(host: str) -> str:
    """Return the address of this machine that a packet to `host` would come from. Raises OSError."""
    family, _, _, _, address = socket.getaddrinfo(host, _DISCARD, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as unused:
        unused.connect(address)
        return str(unused.getsockname()[0])


def own_address(towards: str = "", way_to: Callable[[str], str] = way_to) -> str:
    """Return the address from which this machine reaches `towards`, or everywhere; loopback when it has no other."""
    for host in (towards, *_DOCUMENTATION):
        with suppress(OSError, ValueError):
            if host and not ip_address(address := way_to(host)).is_loopback:
                return address
    return _LOOPBACK
