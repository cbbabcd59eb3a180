"""How one incarnation of a node meets its peers, where its cluster does not meet in the database (ADR 76)."""

from __future__ import annotations

import asyncio
import random
from typing import Final

import structlog

from broker.clock import Clock
from broker.config.configuration import Configuration
from broker.coordination.membership.agent import ClusterAgent
from broker.coordination.peering.calls import MemberCalls, PeerRefused
from broker.coordination.peering.greeting import ClusterTerms
from broker.coordination.peering.security import encrypted, plain
from broker.coordination.peering.unregistered import Unregistered
from broker.coordination.peering.unseen import Unseen
from broker.coordination.peering.view import Detector, PeerView
from broker.errors import ConfigError
from broker.machine.address import endpoint
from broker.machine.line_limit import LineLimit
from broker.node.descriptors import rooms
from broker.node.member_port import MemberPort
from broker.ports.cluster_rows import Incarnation
from broker.thrift.secret import SharedSecret

_log = structlog.get_logger(__name__)

_CALLS_IN_SILENCE: Final = 4
"""A member is called at least so often before it counts as gone."""


def detector(config: Configuration) -> Detector:
    """Return how soon a silent member is gone: as `hazelcast.properties` says, and at most after two beats."""
    hazelcast = config.hazelcast
    two_beats = 2 * config.coordination.rdbms_based_coordination.heartbeat_interval_ms / 1000
    silence = min(float(hazelcast.max_no_heartbeat), two_beats)
    return Detector(min(float(hazelcast.heartbeat_interval), silence / _CALLS_IN_SILENCE), silence)


def terms_of(config: Configuration, *, is_loopback: bool = True, secret: SharedSecret | None = None) -> str:
    """Return what all nodes of the cluster must agree about, in words.

    `is_loopback` says where this node meets its peers. Their secrets are compared here, too: at the port of a node
    whose secret is another one anybody may listen.
    """
    minimum = config.minimum_cluster_size
    size = f"minimumClusterSize {minimum}" if minimum > 1 else "no minimumClusterSize"
    if not config.meets_among_peers:
        return f"rdbmsBasedCoordination true, {size}"
    where = "on loopback" if is_loopback else "beyond loopback"
    mark = "no clusterSecret" if secret is None else f"clusterSecret #{secret.mark()}"
    return f"rdbmsBasedCoordination false, {size}, domain {config.axis2.clustering.domain}, {where}, {mark}"


class Peering:
    """Tells an agent whom of the cluster's nodes this one sees."""

    def __init__(
        self,
        config: Configuration,
        port: MemberPort,
        agent: ClusterAgent,
        clock: Clock,
        *,
        secret: SharedSecret | None,
        database: str,
    ) -> None:
        """`database` is the store in words."""
        self._config = config
        self._port = port
        self._agent = agent
        self._clock = clock
        self._security = plain(secret) if port.is_loopback or secret is None else encrypted(secret)
        self._terms = ClusterTerms(config.axis2.clustering.domain, config.minimum_cluster_size, database)
        self._detector = detector(config)
        self._unregistered = Unregistered(self._detector.silence)
        self._lines = LineLimit()
        self._unseen = Unseen(self._detector.silence)
        self._view: PeerView
        self._calls: MemberCalls | None = None
        self._task: asyncio.Task[None] | None = None

    def begin(self, incarnation: Incarnation, tasks: asyncio.TaskGroup) -> None:
        """Meet the peers from now on, as this incarnation."""
        agent = self._agent
        view = self._view = agent.view = PeerView(
            incarnation,
            (self._port.host, self._port.port),
            agent.address,
            self._terms,
            self._config.axis2.clustering.members.addresses,
            self._detector,
            may_lead=lambda: agent.may_lead and agent.is_trusted(),
            jitter=random.random,
            now=self._clock.monotonic(),
        )
        self._calls = MemberCalls(
            view,
            self._detector,
            self._security,
            self._clock,
            tasks,
            rooms(self._config).nodes,
            on_change=self._on_change,
        )
        self._calls.listen(self._port.sockets)
        self._task = tasks.create_task(self._calls.run(), name="peers")
        self._log_start()

    async def first_round(self) -> None:
        """Return when all well-known members were called. Raises `ConfigError` when one of them refuses this node."""
        assert self._calls is not None, "begin comes first"
        try:
            await self._calls.first_round()
        except PeerRefused as error:
            raise ConfigError(f"{error}; make the nodes agree") from error

    def close(self) -> None:
        """Call and answer nobody any more."""
        if self._task is not None:
            self._task.cancel()
        if self._calls is not None:
            self._calls.close()

    def _log_start(self) -> None:
        hazelcast, found = self._config.hazelcast, self._detector
        asked = (float(hazelcast.heartbeat_interval), float(hazelcast.max_no_heartbeat))
        note = {} if asked == (found.interval, found.silence) else {"hazelcast_properties": asked}
        _log.info(
            "started peer listener",
            address=endpoint(self._port.host, self._port.port),
            domain=self._terms.domain,
            encrypted=self._security.server is not None,
            authenticated=self._security.secret is not None,
            interval=found.interval,
            silence=found.silence,
            **note,
        )

    def _on_change(self) -> None:
        self._agent.on_view()
        self._look_for_unseen()
        living, members = self._agent.living, self._view.members()
        self._view.living = living
        asks, missed = self._unregistered.on_look(members, living, self._clock.monotonic())
        if asks:
            self._agent.on_hint()
        for member in missed:
            if not self._warn(member):
                self._unregistered.tell_again(member)

    def _look_for_unseen(self) -> None:
        """Say of each node that lives in the database, and is not seen among the peers, that it is so."""
        agent = self._agent
        for row, seconds in self._unseen.on_look(agent.rows.values(), agent.apart, self._clock.monotonic()):
            _log.warning(
                "A node of this cluster lives in the database, and does not answer among the peers",
                node=row.node_id,
                slot_service=endpoint(row.host, row.port),
                seconds=round(seconds),
                advice="name its localMemberHost and localMemberPort in members of axis2.xml, and let peers through to"
                " that port",
            )

    def _warn(self, member: Incarnation) -> bool:
        """Log that a member is not in the database. Return False where the log has enough of such lines for now."""
        left_out = self._lines.take(self._clock.monotonic())
        if left_out is None:
            return False
        greeting = self._view.members()[member]
        _log.warning(
            "A node is not taken for a member",
            node=member.node_id,
            peer=endpoint(*greeting.address),
            reason="it answers its peers, and this node does not find it in the database",
            its_database=greeting.terms.database,
            database=self._terms.database,
            **({"lines_left_out": left_out} if left_out else {}),
        )
        return True
