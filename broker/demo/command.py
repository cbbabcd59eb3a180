"""`--cluster-demo N`: the nodes, their load, the database's view of them and the keys, put together.

The only part of the demo that knows the others.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from broker.config.configuration import Configuration
from broker.demo.client import DemoClient
from broker.demo.nodes import NODE_IDS, DemoNode, free_offset, with_url
from broker.demo.table import Shown, Stored, lines
from broker.demo.terminal import Screen, keys
from broker.errors import ConfigError, StoreUnavailable
from broker.ports.cluster_rows import NodeState
from broker.store.server.opening import server_store
from broker.store.server.store import ServerStore

VARIABLE: Final = "CORDILLERA_DEMO_DATABASE"
MOST_NODES: Final = 9
_RATE: Final = 100.0
_BODY: Final = b"x" * 200
_REDRAW: Final = 1.0
_KEYS: Final = "keys: {digits} kills that node (kill -9), again: starts it; q: quit"


def run(config: Configuration, count: int) -> None:
    """Show a cluster of `count` nodes until q or a signal; raises ConfigError when there cannot be one."""
    if not 1 <= count <= MOST_NODES:
        raise ConfigError(f"--cluster-demo takes 1 to {MOST_NODES} nodes, not {count}")
    config = with_url(config, os.environ, VARIABLE)
    if config.store_url.engine not in ("mysql", "postgresql"):
        raise ConfigError(
            f"--cluster-demo needs an empty database that processes can share, not {config.store_url.engine}: name one"
            f" in the datasource of --config, or in the environment variable {VARIABLE}, such as"
            " jdbc:mariadb://127.0.0.1/demo?user=broker&password=secret or jdbc:postgresql://…"
        )
    folder = Path(tempfile.mkdtemp(prefix="cordillera-demo-"))
    try:
        asyncio.run(_Demo(config, count, folder).run())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Demo:
    def __init__(self, config: Configuration, count: int, folder: Path) -> None:
        self._config = config
        offset = free_offset(config, count)
        self._nodes = [DemoNode(folder, number, config, offset + number - 1) for number in range(1, count + 1)]
        self._clients = [
            # Nobody consumes on the first of several nodes: what is published there has to travel.
            DemoClient(node.host, node.port, rate=_RATE, body=_BODY, consumes=node.number > 1 or count == 1)
            for node in self._nodes
        ]
        self._digits = "".join(str(node.number) for node in self._nodes)
        self._before = [(0, 0)] * count
        self._quitting = asyncio.Event()

    async def run(self) -> None:
        """Start everything, show it until somebody has seen enough, and leave nothing behind."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._quitting.set)
        screen = Screen(sys.stdout)
        store = server_store(self._config.datasource, is_shared=True)
        await store.open()
        try:
            await self._check_emptiness(store)
            for node in self._nodes:
                node.start()
            with screen.without_cursor(), keys(self._on_key):
                await self._show(screen, store)
        finally:
            await store.close()
            for node in self._nodes:
                node.ask_to_stop()
            for node in self._nodes:
                await asyncio.to_thread(node.await_end)

    async def _check_emptiness(self, store: ServerStore) -> None:
        """Stay away from a cluster that is not a demo's."""
        strangers = [
            row.node_id
            for row in await store.cluster.nodes()
            if row.state is NodeState.UP and not row.node_id.startswith(NODE_IDS)
        ]
        if strangers:
            raise ConfigError(f"{store.describe()} belongs to a cluster with the node '{strangers[0]}': take another")

    def _on_key(self, key: str) -> None:
        if key in ("q", "Q"):
            self._quitting.set()
        elif key in self._digits:
            node = self._nodes[int(key) - 1]
            if node.pid is None:
                node.start()
            else:
                node.kill()

    async def _show(self, screen: Screen, store: ServerStore) -> None:
        async with asyncio.TaskGroup() as tasks:
            loads = [tasks.create_task(client.run()) for client in self._clients]
            try:
                began = asyncio.get_running_loop().time()
                while not self._quitting.is_set():
                    seconds = asyncio.get_running_loop().time() - began
                    screen.show(self._lines(store.describe(), seconds, await _stored(store)))
                    try:
                        async with asyncio.timeout(_REDRAW):
                            await self._quitting.wait()
                    except TimeoutError:
                        continue
            finally:
                for load in loads:
                    load.cancel()

    def _lines(self, store: str, seconds: float, stored: Stored | None) -> list[str]:
        title = f"Cordillera, a cluster of {len(self._nodes)} on {store}, {seconds:.0f} s"
        return [*lines(title, self._shown(), stored), *self._complaints(), _KEYS.format(digits=f"1-{self._digits[-1]}")]

    def _shown(self) -> list[Shown]:
        shown = []
        for index, (node, client) in enumerate(zip(self._nodes, self._clients, strict=True)):
            published, delivered = self._before[index]
            now = (client.seen.published, client.seen.delivered)
            rates = ((now[0] - published) / _REDRAW, (now[1] - delivered) / _REDRAW)
            self._before[index] = now
            shown.append(Shown(node.number, node.node_id, node.port, node.pid, node.exit_code, client.seen, *rates))
        return shown

    def _complaints(self) -> Sequence[str]:
        """Why nodes have ended that nobody killed."""
        ended = [node for node in self._nodes if node.exit_code not in (None, 0, -signal.SIGKILL)]
        return [f"{node.node_id}: {node.last_line():.200}" for node in ended]


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
