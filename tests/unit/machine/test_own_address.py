from __future__ import annotations

import ipaddress

import pytest

from broker.machine.own_address import own_address, way_to


class Ways:
    """Which address leads where; what is not listed cannot be reached."""

    def __init__(self, ways: dict[str, str]) -> None:
        self.ways = ways
        self.asked: list[str] = []

    def __call__(self, host: str) -> str:
        self.asked.append(host)
        if host not in self.ways:
            raise OSError("network is unreachable")
        return self.ways[host]


@pytest.mark.parametrize(
    ("towards", "ways", "address"),
    [
        ("db", {"db": "10.0.0.7", "192.0.2.1": "192.168.1.5"}, "10.0.0.7"),
        ("localhost", {"localhost": "127.0.0.1", "192.0.2.1": "192.168.1.5"}, "192.168.1.5"),
        ("gone", {"192.0.2.1": "192.168.1.5"}, "192.168.1.5"),
        ("", {"192.0.2.1": "192.168.1.5"}, "192.168.1.5"),
        ("", {"2001:db8::1": "2001:db8::7"}, "2001:db8::7"),
        ("db", {"db": "fe80::1%eth0", "192.0.2.1": "192.168.1.5"}, "fe80::1%eth0"),
        ("db", {}, "127.0.0.1"),
    ],
)
def test_it_is_the_one_on_the_way_to_the_database_or_else_to_everywhere(towards, ways, address):
    assert own_address(towards, Ways(ways)) == address


def test_nobody_is_asked_for_the_way_to_nowhere():
    ways = Ways({})
    own_address("", ways)
    assert ways.asked == ["192.0.2.1", "2001:db8::1"]


def test_the_system_knows_the_way_to_loopback():
    assert way_to("127.0.0.1") == "127.0.0.1"
    assert ipaddress.ip_address(own_address("127.0.0.1"))
