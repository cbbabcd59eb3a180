"""Where a node meets its peers: localMemberHost and localMemberPort, or the next port that is free (andes §1.6)."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from typing import Final

from broker.config.axis2 import OWN_ADDRESS
from broker.config.configuration import Configuration
from broker.errors import ConfigError
from broker.machine.address import EVERY_ADDRESS, endpoint, ip_address
from broker.machine.own_address import own_address

_PORTS: Final = 100
"""Ports that are tried, from localMemberPort on."""
_BACKLOG: Final = 1024


@dataclass(frozen=True, slots=True)
class MemberPort:
    """The sockets of a process, which keeps them over all of its incarnations."""

    host: str
    """Where peers reach this node."""
    port: int
    sockets: tuple[socket.socket, ...]
    is_loopback: bool
    """Can only this machine reach it?"""

    def close(self) -> None:
        """Give the port up."""
        for each in self.sockets:
            each.close()


def open_member_port(config: Configuration) -> MemberPort:
    """Listen where the configuration says, on the next free port if another process has this one.

    Raises ConfigError.
    """
    clustering = config.axis2.clustering
    host = clustering.local_member_host
    if host == OWN_ADDRESS:
        host = own_address(config.store_url.host)
    bound_host = clustering.local_member_bind_address or host
    first = clustering.local_member_bind_port or clustering.local_member_port
    for port in range(first, min(first + _PORTS, 65_536)):
        try:
            sockets = _listening(bound_host, port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                continue
            raise ConfigError(
                f"cannot listen for peers on {endpoint(bound_host, port)}: {error.strerror or error}; set"
                f" localMemberHost of axis2.xml to an address of this machine, such as {own_address()}"
            ) from error
        told = clustering.local_member_port if clustering.local_member_bind_port else sockets[0].getsockname()[1]
        is_loopback = all(ip_address(each.getsockname()[0]).is_loopback for each in sockets)
        if not is_loopback and not config.coordination.cluster_secret.get_secret_value():
            for each in sockets:
                each.close()
            raise ConfigError(
                f"localMemberHost '{host}' of axis2.xml is not loopback, so the nodes need a shared secret; set"
                " coordination/clusterSecret or BROKER_CLUSTER_SECRET, the same on all nodes"
            )
        return MemberPort(host, told, sockets, is_loopback)
    raise ConfigError(
        f"cannot listen for peers on {endpoint(bound_host, first)}: this port and the {_PORTS - 1} after it are in use;"
        " set another localMemberPort in axis2.xml"
    )


def _listening(host: str, port: int) -> tuple[socket.socket, ...]:
    name = None if host in ("", "*", EVERY_ADDRESS) else host
    found = socket.getaddrinfo(name, port, 0, socket.SOCK_STREAM, 0, socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    failure: OSError | None = None
    for family, kind, protocol, _, address in dict.fromkeys(found):
        bound = socket.socket(family, kind, protocol)
        sockets.append(bound)
        try:
            bound.setblocking(False)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            bound.bind((address[0], port, *address[2:]))
            bound.listen(_BACKLOG)
            port = bound.getsockname()[1]
        except OSError as error:
            sockets.remove(bound)
            bound.close()
            if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                for each in sockets:
                    each.close()
                raise
            failure = error  # a family that this machine has not switched on
    if not sockets:
        raise failure or OSError(errno.EADDRNOTAVAIL, f"no address is known for '{host}'")
    return tuple(sockets)
