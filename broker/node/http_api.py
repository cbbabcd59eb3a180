"""Builds the HTTP API of an incarnation, and tells it of the machine, the store and the cluster around the node."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from broker.auth.identity import Identity
from broker.config.configuration import Configuration
from broker.machine.address import endpoint
from broker.management.console.site import Console
from broker.management.figures.view import Listening
from broker.management.http.api import Api
from broker.management.http.call import HttpCaller
from broker.management.http.live import LiveViews
from broker.management.http.local import LocalRequests
from broker.management.http.login import HttpLogin
from broker.management.http.node_view import ManagedNode, Member, StoreFacts, TimelineEntry
from broker.management.http.server import HttpServer
from broker.node.console_certificate import certificate_path, end_of, own_certificate
from broker.node.descriptors import rooms
from broker.node.incarnation import NodeIncarnation
from broker.node.logins import hash_password
from broker.server.certificates import Certificates
from broker.server.listener import AmqpServer

_NAMES: Final = {"amqps": "amqp/ssl"}
"""RabbitMQ's names of protocols that are another's here."""


class AroundNode:
    """The store and the cluster around a node."""

    def __init__(self, incarnation: NodeIncarnation, server: AmqpServer, node_id: str) -> None:
        self._incarnation = incarnation
        self._server = server
        self._node_id = node_id
        self.clustering = incarnation.config.is_clustered
        self.certificates: dict[str, Callable[[], float | None]] = {}
        """Returns when the certificate of a listener ends, by the listener."""

    def alarm(self) -> str:
        return self._server.pressure.alarm

    def store(self) -> StoreFacts:
        health = self._incarnation.health
        if health is None:
            return StoreFacts()
        state = health.state
        since = self._incarnation.clock.monotonic() - state.since
        description = self._incarnation.store.store.describe()
        unsafe = tuple(self._incarnation.unsafe())
        return StoreFacts(state.is_up, since, state.reason, state.latency, description, unsafe)

    def members(self) -> Sequence[Member]:
        return [
            Member(
                seen.node_id, seen.host, seen.port, seen.is_coordinator, seen.node_id == self._node_id, seen.beat_age
            )
            for seen in self._incarnation.members
        ]

    async def timeline(self, limit: int) -> Sequence[TimelineEntry]:
        return [
            TimelineEntry(each.happened_ms, each.type.name.lower(), each.member_id, each.node_id)
            for each in await self._incarnation.timeline(limit)
        ]

    def certificates_end(self) -> Mapping[str, float]:
        ends = {name: end() for name, end in self.certificates.items()}
        return {name: end for name, end in ends.items() if end is not None}


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
        certificates: Certificates | None = None,
    ) -> None:
        """`started_at` is when the process began (monotonic); `certificates` are those of the TLS listener of AMQP."""
        self._config = config
        section = config.management.http
        shared, directory = server.shared, incarnation.topology.directory
        users = None if incarnation.carbon is None else incarnation.carbon.users
        around = self._around = AroundNode(incarnation, server, node_id)
        if certificates is not None:
            around.certificates["amqps"] = lambda: certificates.end

        def tags_of(identity: Identity) -> Iterable[str]:
            granted: Iterable[str] | None = getattr(identity.grants, "tags", None)
            if granted is not None:
                return granted
            record = directory.user(identity.user)
            tags = [] if record is None else record.tags.split(",")
            return [*tags, "administrator"] if users is not None and users.is_administrator(identity.user) else tags

        view = incarnation.view
        view.api_version = section.rabbitmq_version
        view.started_ms = view.now_ms() - round(1000 * (time.monotonic() - started_at))
        self.node = ManagedNode(
            view,
            incarnation.administration,
            commands,
            partial(hash_password, incarnation.hashing),
            shared,
            incarnation.dead_letter_jobs(),
            around,
            asyncio.Event,
            tags_of,
            LiveViews(),
            users is None,
        )
        logins = incarnation.broker.logins["http"]
        self.api = Api(self.node, HttpLogin(shared.users, tags_of, logins), section.path_prefix)
        self.serve_locally = LocalRequests(self.api, section.path_prefix).serve

        def again(caller: HttpCaller) -> HttpCaller | None:
            return HttpCaller(caller.identity, frozenset(tags_of(caller.identity)))  # who is gone has no tags

        self._has_console = config.management.console.enabled
        handle = self.api.handle
        if self._has_console:
            clock = incarnation.clock
            handle = Console(
                self.api, section.path_prefix, clock.monotonic, clock.wall_ms, again, secrets.token_urlsafe
            ).handle
        self._server = HttpServer(handle, incarnation.tasks, rooms(config).clients)

    def tell_of(self, ports: Mapping[str, int]) -> None:
        """Tell of listeners of AMQP: their ports by protocol."""
        host, listening = self._config.transports.amqp.bind_address, self.node.view.listening
        listening[:0] = [Listening(_NAMES.get(name, name), host, port) for name, port in ports.items()]

    async def listen(self) -> dict[str, str]:
        """Open the listener; return its address. Raises `ConfigError`."""
        config = self._config
        section = config.management.http
        host = section.bind_address or config.transports.amqp.bind_address
        port = await self._server.listen(host, config.http_port, "http")
        listening = self.node.view.listening
        listening.append(Listening("http", host, port))
        addresses = {"http": f"http://{endpoint(host, port)}{section.path_prefix}"}
        if self._has_console:
            path = certificate_path(config)
            tls = own_certificate(path)
            self._around.certificates["console"] = lambda: end_of(path)
            port = await self._server.listen(host, config.console_port, "console", tls)
            listening.append(Listening("https", host, port))
            addresses["console"] = f"https://{endpoint(host, port)}{section.path_prefix}"
        return addresses

    async def stop(self) -> None:
        """Serve nobody any more."""
        await self._server.stop()
