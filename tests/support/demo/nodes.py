"""The demo's nodes, numbered from 1, on the ports that a broker has as shipped or on the next free ones.

Knows processes and ports; must not know what is shown.
"""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path

from benchmarks.nodes.configuration import Membership, NodeConfiguration, Rhythm
from benchmarks.nodes.ports import is_free
from benchmarks.nodes.process import BROKER, BrokerFailed, BrokerProcess
from tests.support.demo.links import Links
from tests.support.hooks import hooked

VARIABLE = "CORDILLERA_DEMO_DATABASE"
NODE_IDS = "demo-"

_AMQP_PORT = 5672
_THRIFT_PORT = 7611
_MEMBER_PORT = 4000
_RHYTHM = Rhythm(1000, 600, 800)
_WINDOW_SIZE = 200
_STOP_DEADLINE = 10.0


class Refused(Exception):
    """There cannot be such a demo; the text says why."""


def new_links(count: int, offset: int) -> Links:
    """Return what lies between so many nodes that meet as peers."""
    return Links(count, [_THRIFT_PORT + offset, _MEMBER_PORT + offset])


def new_nodes(folder: Path, url: str, count: int, offset: int, links: Links | None = None) -> list[BrokerProcess]:
    """Return so many nodes on the database at `url`, none of them started.

    With `links` they meet as peers, and a part of them that is not more than half takes no clients.
    """
    peers, minimum = (offset + count, count // 2 + 1) if links is not None else (0, 0)
    return [
        BrokerProcess(
            folder / f"{number}",
            NodeConfiguration(
                f"${{env:{VARIABLE}}}",  # its password stays in the environment of the nodes
                _AMQP_PORT,
                given_id=f"{NODE_IDS}{number}",
                window_size=_WINDOW_SIZE,
                membership=Membership(
                    offset + number - 1,
                    _THRIFT_PORT,
                    _RHYTHM,
                    peers=peers,
                    minimum=minimum if minimum > 1 else 0,
                    member_port=_MEMBER_PORT,
                ),
            ),
            command=BROKER if links is None else hooked(links.detours(number)),
            environ={VARIABLE: url},
            is_detached=True,  # Ctrl-C on the terminal is for the demo, which stops its nodes in order
        )
        for number in range(1, count + 1)
    ]


def free_offset(count: int) -> int:
    """Return the first port offset at which so many nodes have free ports. Raises `Refused`."""
    bases = (_AMQP_PORT, _THRIFT_PORT, _MEMBER_PORT)
    for offset in range(1000):
        if all(is_free(base + offset + number) for base in bases for number in range(count)):
            return offset
    raise Refused(f"no {count} free ports in a row from each of {', '.join(map(str, bases))}")


def toggle(node: BrokerProcess) -> None:
    """Kill a node that runs, start one that does not."""
    if node.is_running():
        node.kill9()
    else:
        node.spawn()


def stop(nodes: list[BrokerProcess]) -> None:
    """Let all nodes that run leave in order, and kill those that take too long."""
    running = [node for node in nodes if node.is_running()]
    for node in running:
        node.terminate()
    for node in running:
        with suppress(BrokerFailed):
            node.ended(_STOP_DEADLINE)


def complaint(node: BrokerProcess) -> str:
    """Return why a node has ended that nobody killed; nothing when it has not."""
    if node.exit_code in (None, 0, -signal.SIGKILL):
        return ""
    last = node.log.splitlines()[-1:]
    return f"{node.node_id}: {''.join(last):.200}"
