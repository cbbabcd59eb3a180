"""The demo: the nodes, their load, the database's view of them and the keys, put together.

The only part of it that knows the others.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from pathlib import Path

from benchmarks.nodes.process import BrokerProcess
from broker.config.datasources import PoolConfiguration
from broker.errors import StoreUnavailable
from broker.ports.cluster_rows import NodeState
from broker.store.server.opening import server_store
from broker.store.server.store import ServerStore
from tests.support.demo.client import DemoClient
from tests.support.demo.links import Links, letters
from tests.support.demo.nodes import (
    NODE_IDS,
    VARIABLE,
    Refused,
    complaint,
    free_offset,
    new_links,
    new_nodes,
    stop,
    toggle,
)
from tests.support.demo.table import Shown, Stored, lines
from tests.support.demo.terminal import Screen, keys

MOST_NODES = 9
_RATE = 100.0
_BODY = b"x" * 200
_REDRAW = 1.0
_KEYS = "keys: {digits} kills that node (kill -9), again: starts it; {letters}q: quit"
_CUT = "{letters} cuts it off from the others, again: mends that; "


def run(url: str, count: int, *, meets_as_peers: bool = False) -> None:
    """Show a cluster of `count` nodes on the database at `url` until q or a signal."""
    if not 1 <= count <= MOST_NODES:
        raise Refused(f"the demo takes 1 to {MOST_NODES} nodes, not {count}")
    datasource = PoolConfiguration(url=url)
    try:
        engine = datasource.store_url.engine
    except ValueError as error:
        raise Refused(f"the environment variable {VARIABLE}: {error}") from error
    if engine not in ("mysql", "postgresql"):
        raise Refused(
            f"the demo needs an empty database that processes can share, not {engine}: name one in the environment"
            f" variable {VARIABLE}, such as jdbc:mariadb://127.0.0.1/demo?user=broker&password=secret or"
            " jdbc:postgresql://…"
        )
    with tempfile.TemporaryDirectory(prefix="cordillera-demo-", ignore_cleanup_errors=True) as folder:
        offset = free_offset(count)
        links = new_links(count, offset) if meets_as_peers else None
        try:
            nodes = new_nodes(Path(folder), url, count, offset, links)
            asyncio.run(_Demo(nodes, server_store(datasource, is_shared=True), links).run())
        finally:
            if links is not None:
                links.close()


class _Demo:
    def __init__(self, nodes: list[BrokerProcess], store: ServerStore, links: Links | None) -> None:
        self._nodes = nodes
        self._store = store
        self._links = links
        self._letters = {} if links is None else letters(len(nodes))
        self._clients = [
            # Nobody consumes on the first of several nodes: what is published there has to travel.
            DemoClient(node.host, node.port, rate=_RATE, body=_BODY, consumes=number > 0 or len(nodes) == 1)
            for number, node in enumerate(nodes)
        ]
        self._digits = "".join(str(number) for number in range(1, len(nodes) + 1))
        self._before = [(0, 0)] * len(nodes)
        self._quitting = asyncio.Event()

    async def run(self) -> None:
        """Start everything, show it until somebody has seen enough, and leave nothing behind."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._quitting.set)
        screen = Screen(sys.stdout)
        await self._store.open()
        try:
            await self._check_emptiness()
            for node in self._nodes:
                node.spawn()
            for client in self._clients:
                client.start()
            with screen.without_cursor(), keys(self._on_key):
                await self._show(screen)
        finally:
            await self._store.close()
            for client in self._clients:
                client.stop()
            await asyncio.to_thread(stop, self._nodes)

    async def _check_emptiness(self) -> None:
        """Stay away from a cluster that is not a demo's."""
        strangers = [
            row.node_id
            for row in await self._store.cluster.nodes()
            if row.state is NodeState.UP and not row.node_id.startswith(NODE_IDS)
        ]
        if strangers:
            raise Refused(f"{self._store.describe()} belongs to a cluster with the node '{strangers[0]}': take another")

    def _on_key(self, key: str) -> None:
        if key in ("q", "Q"):
            self._quitting.set()
        elif key in self._digits:
            toggle(self._nodes[int(key) - 1])
        elif self._links is not None and key in self._letters:
            self._links.toggle(self._letters[key])

    async def _show(self, screen: Screen) -> None:
        began = asyncio.get_running_loop().time()
        while not self._quitting.is_set():
            seconds = asyncio.get_running_loop().time() - began
            screen.show(self._lines(seconds, await _stored(self._store)))
            try:
                async with asyncio.timeout(_REDRAW):
                    await self._quitting.wait()
            except TimeoutError:
                continue

    def _lines(self, seconds: float, stored: Stored | None) -> list[str]:
        title = f"Cordillera, a cluster of {len(self._nodes)} on {self._store.describe()}, {seconds:.0f} s"
        complaints = [text for text in map(complaint, self._nodes) if text]
        cut = _CUT.format(letters=f"a-{max(self._letters)}") if self._letters else ""
        known = _KEYS.format(digits=f"1-{self._digits[-1]}", letters=cut)
        return [*lines(title, self._shown(), stored), *complaints, known]

    def _shown(self) -> list[Shown]:
        shown = []
        for index, (node, client) in enumerate(zip(self._nodes, self._clients, strict=True)):
            published, delivered = self._before[index]
            now = (client.seen.published, client.seen.delivered)
            rates = ((now[0] - published) / _REDRAW, (now[1] - delivered) / _REDRAW)
            self._before[index] = now
            pid = node.pid if node.is_running() else None
            is_cut = self._links is not None and self._links.is_cut(index + 1)
            shown.append(Shown(index + 1, node.node_id, node.port, pid, node.exit_code, client.seen, *rates, is_cut))
        return shown


async def _stored(store: ServerStore) -> Stored | None:
    """Ask the database; none when it does not answer."""
    try:
        backlog = await store.backlog()
        return Stored(
            await store.cluster.read_lease(),
            await store.cluster.nodes(),
            await store.slots.slots(),
            sum(slot.count for slot in backlog),
        )
    except StoreUnavailable:
        return None
