"""Ports that nobody else gets."""

from __future__ import annotations

import socket

from benchmarks.nodes.ports import HOST, QuietPorts, is_free, quiet_port


def test_no_port_is_handed_out_twice_while_there_are_others() -> None:
    ports = [port for port in range(15_000, 15_400) if is_free(port)][:20]
    quiet = QuietPorts(ports, 0)
    assert sorted(quiet.take() for _ in ports) == ports


def test_a_port_in_use_is_passed_over() -> None:
    port = quiet_port(2)
    with socket.create_server((HOST, port)):
        assert QuietPorts([port, port + 1], 0).take() == port + 1


def test_successive_ports_do_not_reach_over_the_end() -> None:
    port = quiet_port(3)
    quiet = QuietPorts([port, port + 1, port + 2], 2)
    assert quiet.take(3) == port
