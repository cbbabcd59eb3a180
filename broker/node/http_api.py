"""Builds the HTTP API of an incarnation, and tells it of the machine, the store and the cluster around the node."""

from __future__ import annotations

import asyncio
import os
import platform
import resource
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from broker import __version__
from broker.auth.identity import Identity
from broker.config.configuration import Configuration
from broker.machine.address import endpoint
from broker.management.figures.view import Listening, MachineFigures, NodeView
from broker.management.http.api import Api
from broker.management.http.login import HttpLogin
from broker.management.http.node_view import ManagedNode, Member, StoreFacts
from broker.management.http.server import HttpServer
from broker.node.descriptors import rooms
from broker.node.incarnation import NodeIncarnation
from broker.node.logins import hash_password
from broker.node.settings import thresholds
from broker.server.listener import AmqpServer
from broker.server.memory_limit import total_memory
from broker.server.resource_monitor import resident_octets

_LOOK_AGAIN: Final = 1.0
"""Seconds for which what the machine says is taken to be still so."""


class AroundNode:
    """The machine, the store and the cluster around a node."""

    def __init__(self, incarnation: NodeIncarnation, server: AmqpServer, node_id: str) -> None:
        self._incarnation = incarnation
        self._server = server
        self._node_id = node_id
        self._thresholds = thresholds(incarnation.config)
        self.clustering = incarnation.config.is_clustered
        self._machine = MachineFigures()
        self._looked_at = -_LOOK_AGAIN

    def machine(self) -> MachineFigures:
        """Return what the process uses of its machine."""
        now = self._incarnation.clock.monotonic()
        if now - self._looked_at >= _LOOK_AGAIN:
            self._looked_at = now
            self._machine = self._look()
        return self._machine

    def _look(self) -> MachineFigures:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        descriptors = 1 << 20 if soft == resource.RLIM_INFINITY else soft
        alarm = self.alarm()
        return MachineFigures(
            memory_used=resident_octets(),
            memory_limit=self._thresholds.memory,
            memory_total=total_memory(),
            is_memory_short="memory" in alarm,
            disk_free=_disk_free(self._incarnation.config.store_url.path),
            disk_limit=self._thresholds.disk_free,
            is_disk_short="disk" in alarm,
            descriptors_used=_descriptors_used(),
            descriptors_total=descriptors,
            sockets_total=min(descriptors, rooms(self._incarnation.config).clients.descriptors),
            processors=os.cpu_count() or 1,
            process_id=os.getpid(),
        )

    def alarm(self) -> str:
        return self._server.pressure.alarm

    def store(self) -> StoreFacts:
        health = self._incarnation.health
        if health is None:
            return StoreFacts()
        state = health.state
        since = self._incarnation.clock.monotonic() - state.since
        description = self._incarnation.store.store.describe()
        return StoreFacts(state.is_up, since, state.reason, state.latency, description)

    def members(self) -> Sequence[Member]:
        return [
            Member(
                seen.node_id, seen.host, seen.port, seen.is_coordinator, seen.node_id == self._node_id, seen.beat_age
            )
            for seen in self._incarnation.members
        ]

    def certificates_end(self) -> Mapping[str, float]:
        return {}


def _disk_free(path: Path | None) -> int:
    with suppress(OSError):
        status = os.statvfs(Path.cwd() if path is None else path.resolve().parent)
        return status.f_bavail * status.f_frsize
    return 0


def _descriptors_used() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0


class HttpApi:
    """The HTTP API of one incarnation."""

    def __init__(
        self,
        config: Configuration,
        incarnation: NodeIncarnation,
        server: AmqpServer,
        node_id: str,
        started_at: float,
        commands: Mapping[str, Callable[[Mapping[str, Any]], Awaitable[Any]]],
        ports: Mapping[str, int],
    ) -> None:
        """`started_at` is when the process began (monotonic); `ports` are those of AMQP, by protocol."""
        self._config = config
        section, amqp = config.management.http, config.transports.amqp
        shared, directory = server.shared, incarnation.topology.directory
        users = None if incarnation.carbon is None else incarnation.carbon.users
        names = {"amqps": "amqp/ssl"}
        self.listeners = [Listening(names.get(name, name), amqp.bind_address, port) for name, port in ports.items()]
        around = AroundNode(incarnation, server, node_id)

        def tags_of(identity: Identity) -> Iterable[str]:
            granted: Iterable[str] | None = getattr(identity.grants, "tags", None)
            if granted is not None:
                return granted
            record = directory.user(identity.user)
            tags = [] if record is None else record.tags.split(",")
            return [*tags, "administrator"] if users is not None and users.is_administrator(identity.user) else tags

        uptime_ms = round(1000 * (time.monotonic() - started_at))
        view = NodeView(
            incarnation.broker,
            node_id,
            __version__,
            node_id,
            section.rabbitmq_version,
            incarnation.clock.wall_ms() - uptime_ms,
            incarnation.clock.wall_ms,
            machine=around.machine,
            listeners=lambda: self.listeners,
            platform=platform.python_version(),
        )
        self.node = ManagedNode(
            view,
            incarnation.administration,
            commands,
            partial(hash_password, incarnation.hashing),
            shared,
            incarnation.dead_letter_channels(),
            around,
            asyncio.Event,
            users is None,
        )
        self.api = Api(
            self.node, HttpLogin(shared.users, tags_of, incarnation.broker.logins["http"]), section.path_prefix
        )
        self._server = HttpServer(self.api.handle, incarnation.tasks, rooms(config).clients)

    async def listen(self) -> dict[str, str]:
        """Open the listener; return its address. Raises `ConfigError`."""
        config = self._config
        section = config.management.http
        host = section.bind_address or config.transports.amqp.bind_address
        port = await self._server.listen(host, config.http_port, "http")
        self.listeners.append(Listening("http", host, port))
        return {"http": f"http://{endpoint(host, port)}{section.path_prefix}"}

    async def stop(self) -> None:
        """Serve nobody any more."""
        await self._server.stop()
