"""A node as a process: opens the store, runs incarnations, listens for clients, reports its start, and stops.

The objects of an incarnation are built in `incarnation`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog

from broker import __version__
from broker.backoff import Backoff
from broker.clock import StoreClock, SystemClock
from broker.config.configuration import Configuration
from broker.errors import AdministrationError, ConfigError, Evicted, StoreLocked, StoreShared
from broker.machine.supervisor import of_this_process
from broker.management.figures.view import ReadLogs, no_logs
from broker.node.admin_password import password_path, where_password_is
from broker.node.amqp_listeners import open_amqp
from broker.node.control import API, Command, ControlServer
from broker.node.control_path import control_path
from broker.node.incarnation import STOP_TIMEOUT, NodeIncarnation
from broker.node.lifecycle import Lifecycle
from broker.node.logins import hash_password
from broker.node.member_port import open_member_port
from broker.node.own_id import node_id
from broker.node.process_commands import ProcessCommands
from broker.node.standalone import Standalone
from broker.node.tls_listeners import TlsListeners
from broker.node.token_logins import token_logins
from broker.node.traced import traced
from broker.ports.store import Store
from broker.server.draining import Drain, State, drain_before_end
from broker.server.listener import AmqpServer
from broker.store.health import StoreState
from broker.store.retrying import Retry, RetryingStore
from broker.store.safety_watch import SafetyWatch
from broker.store.time_keeper import TimeKeeper
from broker.topology.commands import Commands
from broker.topology.dead_letter_commands import DeadLetterCommands
from broker.topology.exchange import NewOwnRouter
from broker.topology.redrive_commands import RedriveCommands
from broker.topology.schedule_commands import ScheduleCommands
from broker.topology.stream_commands import StreamCommands
from broker.topology.subscription_commands import SubscriptionCommands

if TYPE_CHECKING:
    from broker.node.http_api import HttpApi
    from broker.node.metrics import Metrics

_log = structlog.get_logger(__name__)

_LOOK_AGAIN: Final = 1.0
"""Seconds until a node that waits for another broker to end looks again."""
_TELL_AGAIN: Final = 30.0
_STORE_TIMEOUT: Final = 10.0
_NO_TYPES: Final[Mapping[str, NewOwnRouter]] = {}


@dataclass(frozen=True, slots=True)
class Started:
    """What the banner shows of a started node."""

    node_id: str
    store: str
    store_seconds: float
    unsafe: Sequence[str]
    """The settings of the database under which a committed message can be lost."""
    addresses: dict[str, str]
    queues: int
    messages: int
    seconds: float
    admin_password: str
    """In a few words, where the administrator's password is."""


class Node:
    """A broker process without its command line."""

    def __init__(
        self,
        config: Configuration,
        store: Store,
        *,
        started_at: float | None = None,
        store_timeout: float = _STORE_TIMEOUT,
        own_exchange_types: Mapping[str, NewOwnRouter] = _NO_TYPES,
        recent_logs: ReadLogs = no_logs,
    ) -> None:
        """Serve with `store`, which `run` opens and closes.

        `started_at` is when the process began (monotonic). `store_timeout` is how many seconds a stopping node waits
        for a store that is away. `own_exchange_types` are those of installed packages, and `recent_logs` returns the
        last lines of the log. Raises `ConfigError` when tokens are to be accepted and cannot be verified, and for
        certificates that cannot be used.
        """
        self._config = config
        self._store = store
        self._retrying_store = RetryingStore(store)
        self._store_timeout = store_timeout
        self._own_exchange_types = own_exchange_types
        self._recent_logs = recent_logs
        self._start_retry = Retry("waiting for the store", Backoff(0.5, 5.0))
        self._started_at = time.monotonic() if started_at is None else started_at
        self._stop = asyncio.Event()
        self._start: asyncio.Timeout | None = None
        """Ends a start that is still waiting when `stop` is called."""
        self._clock = StoreClock(SystemClock())
        self._time_keeper = TimeKeeper(self._retrying_store, self._clock)
        self._incarnation: NodeIncarnation | None = None
        self._safety = SafetyWatch(store, self._clock)
        self.ports: dict[str, int] = {}
        """Where the node listens for AMQP, by protocol."""
        self._certificates = TlsListeners(config)
        self._stop_asked_at: float | None = None
        self._supervisor = of_this_process()
        self._with_tokens = token_logins(config.authentication.oauth2)
        self._member_port = open_member_port(config) if config.meets_among_peers else None
        self._drain: Drain | None = None
        self._drain_seconds = config.management.drain_seconds
        self._at_once = asyncio.Event()
        self.process_commands = ProcessCommands(self._stop_over)
        """Those that the control socket has; the command line adds what only it can do."""
        self.node_id = node_id(config, port=0 if self._member_port is None else self._member_port.port)

    @property
    def store_state(self) -> StoreState:
        """The health of the store. Raises LookupError before an incarnation has registered."""
        if self._incarnation is None or self._incarnation.health is None:
            raise LookupError("the node has not started")
        return self._incarnation.health.state

    def stop(self) -> None:
        """Ask the node to stop in order; a node that is still starting, for example waiting for its store, stops at
        once. Asked again, it closes the connections that are left at once.
        """
        if self._stop_asked_at is None:
            self._stop_asked_at = self._clock.monotonic()
        else:
            self._at_once.set()
        self._stop.set()
        start, self._start = self._start, None
        if start is not None:
            start.reschedule(asyncio.get_running_loop().time())

    def _stop_over(self, seconds: float | None) -> None:
        """Ask the node to stop, and to close connections over so many seconds, None for what is configured."""
        if seconds is not None:
            self._drain_seconds = seconds
        self.stop()

    def reload(self, config: Configuration) -> None:
        """Take from `config` what a running node can change: certificate, trust store, versions and ciphers of TLS.

        Connections that come from now on get them. Raises ConfigError, and changes nothing, when they cannot be used.
        """
        self._certificates.reload(config)
        if _without_what_is_taken(config) != _without_what_is_taken(self._config):
            _log.warning("the configuration has other changes, they take effect at the next start")

    async def run(self, on_started: Callable[[Started], None]) -> None:
        """Serve until `stop` is called; raises the error that prevented the start or ended the node."""
        try:
            async with traced(self._config.management.tracing, self.node_id):
                await self._run_until_stopped(on_started)
        finally:
            if self._member_port is not None:
                self._member_port.close()
        _log.info(
            "stopped",
            node=self.node_id,
            seconds=round(self._clock.monotonic() - (self._stop_asked_at or self._clock.monotonic()), 2),
            messages=0 if self._incarnation is None else self._incarnation.messages_left,
        )

    async def _run_until_stopped(self, on_started: Callable[[Started], None]) -> None:
        start = asyncio.timeout(None)
        try:
            async with start:
                if not self._stop.is_set():
                    self._start = start
                    await self._run(start, on_started)
        except TimeoutError:
            if not start.expired():
                raise
            _log.info("stopped before the start was complete", node=self.node_id)

    async def _run(self, start: asyncio.Timeout, on_started: Callable[[Started], None]) -> None:
        await self._open_store()
        try:
            await self._check_safety()
            await self._start_retry.until_done(self._time_keeper.begin)
            while await self._was_evicted(on_started) and not self._stop.is_set():
                reason = self._retrying_store.end_reason or "it was evicted"
                _log.warning("this node begins anew", node=self.node_id, reason=reason)
                self._start = start
        finally:
            await self._store.close()

    async def _open_store(self) -> None:
        """Open the store. While another broker has it, wait to take over; one that is `standalone` is refused."""
        takes_over = not self._config.is_clustered and self._config.deployment.mode == "default"
        tell_at = self._clock.monotonic()
        while True:
            try:
                await self._start_retry.until_done(self._store.open)
            except StoreLocked as error:
                if not takes_over or isinstance(error, StoreShared):
                    raise
                if self._clock.monotonic() >= tell_at:
                    tell_at = self._clock.monotonic() + _TELL_AGAIN
                    _log.warning("waiting to take over from the broker that has the store", reason=str(error))
            else:
                return
            await asyncio.sleep(_LOOK_AGAIN)

    async def _was_evicted(self, on_started: Callable[[Started], None]) -> bool:
        """Run one incarnation; return whether an eviction ended it."""
        incarnation = self._incarnation = NodeIncarnation(
            self._config,
            self.node_id,
            self._retrying_store,
            self._clock,
            self._time_keeper,
            self._new_lifecycle(),
            store_timeout=self._store_timeout,
            own_exchange_types=self._own_exchange_types,
            password_path=password_path(self._config),
            with_tokens=self._with_tokens,
            unsafe=lambda: self._safety.findings,
        )

        async def serve_clients(server: AmqpServer, messages: int) -> None:
            await self._serve_clients(server, incarnation, messages, on_started)

        try:
            await incarnation.run(serve_clients)
        except BaseExceptionGroup as group:
            evicted, others = group.split(Evicted)
            if evicted is None or (others is not None and others.subgroup(ConfigError) is not None):
                raise
            if others is not None:  # these errors follow from the eviction
                _log.warning("an incarnation has ended with errors", reason=str(others.exceptions[0]))
            return True
        return False

    def _new_lifecycle(self) -> Lifecycle[NodeIncarnation]:
        if not self._config.is_clustered:
            return Standalone(self._retrying_store, self.node_id, self._start_retry)
        from broker.node.clustered import Clustered

        return Clustered(
            self._config, self._retrying_store, self.node_id, self._clock, self._start_retry, self._member_port
        )

    async def _check_safety(self) -> None:
        """Warn, or refuse to start, when the database may lose a committed message (invariant I91)."""
        require_safe(self._config, await self._start_retry.until_done(self._safety.judge))

    async def _serve_clients(
        self, server: AmqpServer, incarnation: NodeIncarnation, messages: int, on_started: Callable[[Started], None]
    ) -> None:
        """Listen until the node is to stop; then close the clients' connections."""
        incarnation.view.logs = self._recent_logs
        store_seconds = await self._start_retry.until_done(self._store.probe)
        async with AsyncExitStack() as opened:
            addresses = await self._open_all(server, incarnation, opened)
            self._start = None
            on_started(
                Started(
                    self.node_id,
                    self._store.describe(),
                    store_seconds,
                    self._safety.findings,
                    addresses,
                    len(incarnation.queues),
                    messages,
                    time.monotonic() - self._started_at,
                    where_password_is(
                        incarnation.topology.directory, self._config.user_mgt, password_path(self._config)
                    ),
                )
            )
            _log.info("Server startup complete", node=self.node_id)
            self._supervisor.tell("READY=1", f"STATUS=serving as {self.node_id}")
            await self._watch_until_stopped()
        _log.info("stopping", node=self.node_id)
        self._supervisor.tell("STOPPING=1")
        await server.stop("shutdown", STOP_TIMEOUT)

    async def _open_all(
        self, server: AmqpServer, incarnation: NodeIncarnation, opened: AsyncExitStack
    ) -> dict[str, str]:
        """Listen for everybody, for clients of AMQP last; return the addresses. `opened` closes all but those."""
        further = {
            **DeadLetterCommands(incarnation.message_administration.dead_letter_channels).by_name,
            **SubscriptionCommands(incarnation.message_administration.subscription_list).by_name,
            **ScheduleCommands(incarnation.message_administration.schedules).by_name,
            **StreamCommands(incarnation.message_administration.stream_replays).by_name,
            **RedriveCommands(incarnation.message_administration.redrives).by_name,
        }
        new_hash = partial(hash_password, incarnation.hashing)
        commands = Commands(incarnation.administration, new_hash, __version__, further)
        by_name = incarnation.carbon.commands(incarnation.administration, commands) if incarnation.carbon else None
        served: dict[str, Command] = {**(by_name or commands.by_name), **self.process_commands.by_name}
        control = ControlServer(control_path(self._config.node_place), served)
        await control.start()
        opened.push_async_callback(control.stop)
        was_drained = self._drain is not None and self._drain.state != "serving"
        drain = self._drain = self._new_drain(server, incarnation)
        http = self._http_api(incarnation, server, by_name or commands.by_name)
        served[API] = _no_api if http is None else http.serve_locally
        addresses: dict[str, str] = {}
        for listener in (http, self._metrics(incarnation, server)):
            if listener is not None:
                opened.push_async_callback(listener.stop)
                addresses |= await listener.listen()
        self.ports, of_amqp = await open_amqp(server, self._config, self._certificates)
        addresses |= of_amqp
        if was_drained:
            drain.begin(0)
        if http is not None:
            http.tell_of(self.ports)
        return addresses

    async def _watch_until_stopped(self) -> None:
        drain = self._drain
        assert drain is not None
        async with asyncio.TaskGroup() as watching:
            watches = [
                watching.create_task(self._certificates.watch(asyncio.sleep), name="certificates"),
                watching.create_task(self._supervisor.watch(asyncio.sleep), name="signs of life"),
                watching.create_task(self._safety.run(), name="store safety"),
            ]
            try:
                await self._stop.wait()
                if self._drain_seconds:
                    self._supervisor.tell("STOPPING=1")
                    await drain_before_end(drain, self._drain_seconds, self._at_once)
            finally:
                drain.stop()
                for watch in watches:
                    watch.cancel()

    def _new_drain(self, server: AmqpServer, incarnation: NodeIncarnation) -> Drain:
        """Return what drains this incarnation."""

        def on_change(state: State) -> None:
            incarnation.view.being_drained = state != "serving"
            self._supervisor.tell(f"STATUS={state} as {self.node_id}")

        return Drain(
            server,
            hand_over=incarnation.hand_over,
            spawn=incarnation.tasks.create_task,
            sleep=asyncio.sleep,
            on_change=on_change,
        )

    def _http_api(
        self, incarnation: NodeIncarnation, server: AmqpServer, commands: Mapping[str, Command]
    ) -> HttpApi | None:
        if not self._config.management.http.enabled:
            return None
        from broker.node.http_api import HttpApi  # a quarter of a second

        assert self._drain is not None
        return HttpApi(
            self._config,
            incarnation,
            server,
            self.node_id,
            self._started_at,
            commands,
            self._certificates,
            self._drain,
        )

    def _metrics(self, incarnation: NodeIncarnation, server: AmqpServer) -> Metrics | None:
        if not self._config.management.metrics.enabled:
            return None
        from broker.node.metrics import Metrics  # for aiohttp, likewise

        return Metrics(self._config, incarnation, server, self._certificates)


def require_safe(config: Configuration, unsafe: Sequence[str]) -> None:
    """Raise `ConfigError` for settings under which the database may lose a commit, if that is to prevent a start."""
    if unsafe and config.persistence.store_safety_check == "enforce":
        raise ConfigError(
            f"the database can lose what it has committed: {'; '.join(unsafe)};"
            " mend that, or set persistence/storeSafetyCheck to warn"
        )


def _without_what_is_taken(config: Configuration) -> dict[str, Any]:
    """Return the values of `config` but those that a running node takes, and where they come from."""
    values = config.model_dump(exclude={"origins", "accepted", "logging", "log4j"})
    for section in (values["transports"]["amqp"], values["management"]["http"], values["management"]["metrics"]):
        tls = section["ssl_connection"]
        for name in set(tls) - {"enabled", "port", "profile"}:
            del tls[name]
    return values


async def _no_api(arguments: Mapping[str, Any]) -> Any:
    raise AdministrationError("the HTTP API is off: management/http of broker.xml switches it on")


def open_store(config: Configuration) -> Store:
    """Return the store the configuration names, not open yet. Raises ConfigError when its driver is not installed."""
    url = config.store_url
    if url.engine == "sqlite" and url.path is not None:
        from broker.store.sqlite.store import SqliteStore

        return SqliteStore(url.path)
    if url.engine == "memory":
        from broker.store.memory.store import MemoryStore

        return MemoryStore()
    from broker.store.server.opening import server_store

    demands_safety = config.persistence.store_safety_check == "enforce"
    if not config.is_clustered:
        return server_store(config.datasource, demands_safety=demands_safety)
    heartbeat_interval = config.coordination.rdbms_based_coordination.heartbeat_interval_ms / 1000
    return server_store(
        config.datasource,
        cluster_deadline=0.4 * heartbeat_interval,
        is_shared=True,
        demands_safety=demands_safety,
    )
