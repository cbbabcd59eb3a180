"""Where a node meets its peers: the configured port, or the next one that is free."""

from __future__ import annotations

import socket

import pytest

from broker.config.axis2 import Axis2, Clustering
from broker.config.broker_xml import Coordination
from broker.config.configuration import Configuration
from broker.errors import ConfigError
from broker.machine.own_address import own_address
from broker.node.member_port import open_member_port

SECRET = "0123456789abcdef"


def configured(
    port: int, host: str = "127.0.0.1", *, secret: str = "", bind: tuple[str, int] = ("", 0)
) -> Configuration:
    clustering = Clustering(
        local_member_host=host,
        local_member_port=port,
        local_member_bind_address=bind[0],
        local_member_bind_port=bind[1],
    )
    return Configuration(axis2=Axis2(clustering=clustering), coordination=Coordination(cluster_secret=secret))


@pytest.fixture
def taken() -> socket.socket:
    """A socket that listens where another process may want to."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening  # type: ignore[misc]


def test_a_port_that_is_taken_leads_to_the_next_one(taken: socket.socket) -> None:
    port: int = taken.getsockname()[1]
    found = open_member_port(configured(port))
    try:
        assert port < found.port < port + 100
        assert (found.host, found.is_loopback) == ("127.0.0.1", True)
        with socket.create_connection(("127.0.0.1", found.port)):
            pass
    finally:
        found.close()


def test_peers_are_told_the_address_and_the_node_listens_at_another(taken: socket.socket) -> None:
    port: int = taken.getsockname()[1]
    found = open_member_port(configured(4100, "10.9.8.7", secret=SECRET, bind=("127.0.0.1", port)))
    try:
        assert (found.host, found.port) == ("10.9.8.7", 4100)
        assert found.sockets[0].getsockname()[1] > port
    finally:
        found.close()


def test_an_address_of_another_machine_is_refused_with_one_of_this() -> None:
    with pytest.raises(ConfigError, match=r"cannot listen for peers on 192.0.2.7:4100: .* set localMemberHost"):
        open_member_port(configured(4100, "192.0.2.7", secret=SECRET))


def test_every_address_needs_the_secret() -> None:
    config = configured(45_100, own_address(), bind=("*", 45_100))
    with pytest.raises(ConfigError, match="so the nodes need a shared secret; set coordination/clusterSecret"):
        open_member_port(config)
