"""Builds the HTTP API of an incarnation, and tells it of the machine, the store and the cluster around the node."""

from __future__ import annotations

import asyncio
import secrets
import ssl
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
from broker.node.console_certificate import ConsoleCertificate, certificate_path
from broker.node.descriptors import rooms
from broker.node.incarnation import NodeIncarnation
from broker.node.logins import hash_password
from broker.node.tls_listeners import AMQPS, HTTPS, TlsListeners
from broker.server.draining import Drain
from broker.server.listener import AmqpServer

_NAMES: Final = {"amqps": "amqp/ssl"}
"""RabbitMQ's names of protocols that are another's here."""


class AroundNode:
    """The store and the cluster around a node."""

    def __init__(self, incarnation: NodeIncarnation, server: AmqpServer, node_id: str, drain: Drain) -> None:
        self.drain = drain
        self._incarnation = incarnation
        self._server = server
        self._node_id = node_id
        self.clustering = incarnation.config.is_clustered
        self.minimum_cluster_size = incarnation.config.minimum_cluster_size
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
        certificates: TlsListeners,
        drain: Drain,
    ) -> None:
        """`started_at` is when the process began (monotonic)."""
        self._config = config
        self._certificates = certificates
        self._watches: list[asyncio.Task[None]] = []
        self._tasks = incarnation.tasks
        section = config.management.http
        shared, directory = server.shared, incarnation.topology.directory
        users = None if incarnation.carbon is None else incarnation.carbon.users
        around = self._around = AroundNode(incarnation, server, node_id, drain)
        for name in (AMQPS, HTTPS):
            around.certificates[name] = partial(certificates.end, name)

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
            incarnation.message_administration.dead_letter_jobs,
            around,
            asyncio.Event,
            tags_of,
            LiveViews(),
            incarnation.message_administration.find_stored,
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
        """Open the listeners; return their addresses. Raises `ConfigError`."""
        config, section = self._config, self._config.management.http
        addresses = {}
        if section.plain:
            addresses["http"] = await self._listen(config.http_port, "http")
        tls = self._certificates.context(HTTPS)
        if tls is not None:
            element = "http/sslConnection"
            addresses["https"] = await self._listen(config.https_port, element, tls)
            self._certificates.on_change(HTTPS, partial(self._use_certificate, element))
        if self._has_console:
            addresses["console"] = await self._listen(config.console_port, "console", tls or self._console_tls())
        return addresses

    async def _listen(self, port: int, element: str, tls: ssl.SSLContext | None = None) -> str:
        """Open one listener; return its address."""
        section = self._config.management.http
        host = section.bind_address or self._config.transports.amqp.bind_address
        port = await self._server.listen(host, port, element, tls)
        protocol = "http" if tls is None else "https"
        self.node.view.listening.append(Listening(protocol, host, port))
        return f"{protocol}://{endpoint(host, port)}{section.path_prefix}"

    def _use_certificate(self, element: str, tls: ssl.SSLContext) -> None:
        self._server.use_certificate(element, tls)
        if self._has_console:
            self._server.use_certificate("console", tls)

    def _console_tls(self) -> ssl.SSLContext:
        """Return a context with the console's own certificate: the API has none."""
        own = ConsoleCertificate(certificate_path(self._config))
        self._around.certificates["console"] = own.end
        self._watches.append(self._tasks.create_task(own.watch(asyncio.sleep), name="the console's certificate"))
        return own.context

    async def stop(self) -> None:
        """Serve nobody any more."""
        for watch in self._watches:
            watch.cancel()
        await self._server.stop()
