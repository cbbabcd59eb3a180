"""Calls the peers that `PeerView` names, and answers those that call this node (ADR 76)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from socket import socket
from typing import Any, Final

import structlog

from broker.clock import Clock
from broker.coordination.peering.greeting import Address, Greeting, decode, encode
from broker.coordination.peering.link import LinkLost, PeerLink
from broker.coordination.peering.security import PeerSecurity
from broker.coordination.peering.server import PeerServer
from broker.coordination.peering.unanswered import Unanswered
from broker.coordination.peering.view import Detector, PeerView
from broker.errors import CoordinationError
from broker.machine.address import endpoint
from broker.machine.faults import MACHINE_FAULTS, MachineFaults
from broker.machine.host_names import HostNames
from broker.machine.line_limit import LineLimit
from broker.machine.listener import Room
from broker.ports.cluster_rows import Incarnation
from broker.ports.peer_calls import Unauthorized

_log = structlog.get_logger(__name__)

_CALL: Final = "greeting"
_REFUSED: Final = "refused"
_IDLE: Final = 4
"""Times of silence after which a connection of a peer that does not call is closed."""
_MOST_TOLD: Final = 1024
_STRANGER: Final = (
    "it has not proved the cluster's secret, so it keeps this node from nothing; give all nodes the same clusterSecret"
)


class PeerRefused(CoordinationError):
    """A living node does not take this one for a member of its cluster, or the other way round."""


class MemberCalls:
    """Keeps the view of one incarnation up to date while `run` runs."""

    def __init__(
        self,
        view: PeerView,
        detector: Detector,
        security: PeerSecurity,
        clock: Clock,
        tasks: asyncio.TaskGroup,
        room: Room,
        *,
        on_change: Callable[[], None],
        names: HostNames | None = None,
    ) -> None:
        """`on_change` is called whenever this node may see others than before. `names` looks up where peers are."""
        self.view = view
        self._security = security
        self._clock = clock
        self._on_change = on_change
        self._timeout = detector.silence / 4
        self._silence = detector.silence
        self._well_known = frozenset(view.well_known)
        self._unanswered = Unanswered(detector.silence, clock.monotonic())
        self._links: dict[Address, PeerLink] = {}
        self._names = names or HostNames()
        self._told: dict[object, str] = {}
        self._lines = LineLimit()
        self._named: dict[Address, Address] = {}
        self._changed = asyncio.Event()
        self._settled = asyncio.Event()
        self._server = PeerServer(security, self._answer, tasks, idle_timeout=_IDLE * detector.silence, room=room)

    def listen(self, sockets: Sequence[socket]) -> None:
        """Answer peers on sockets that are bound. Raises OSError."""
        self._server.start(sockets)

    def close(self) -> None:
        """Answer nobody any more, and end all connections."""
        self._server.stop()
        for link in self._links.values():
            link.close()
        self._links.clear()

    async def run(self) -> None:
        """Call peers until cancelled."""
        faults = MachineFaults("peers")
        async with asyncio.TaskGroup() as calls:
            while True:
                with faults:
                    self._changed.clear()
                    now = self._clock.monotonic()
                    self._drop_links()
                    for address in self.view.due(now):
                        calls.create_task(self._call(address, now), name=f"peer {endpoint(*address)}")
                    self._on_change()
                delay = max(self.view.next_deadline() - self._clock.monotonic(), 0.001)
                with suppress(TimeoutError):
                    async with asyncio.timeout(delay):
                        await self._changed.wait()

    async def first_round(self) -> None:
        """Return when all well-known members have been called. Raises `PeerRefused` when one refuses this node."""
        await self._settled.wait()
        for address, reason in self.view.refusals().items():
            raise PeerRefused(f"the node at {endpoint(*address)} and this one are not of one cluster: {reason}")

    async def _call(self, address: Address, asked_at: float) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                found = await self._names.addresses(address[0])
                if len(found) > 1:
                    answer = None
                    self._on_addresses(address, found, asked_at)
                else:
                    if (link := self._links.get(address)) is not None and not link.is_to(found[0]):
                        self._links.pop(address).close()  # the name has another address now
                    answer = await self._ask(address, {_CALL: encode(self.view.greeting())})
            if answer is not None:
                self._tell(address, self._on_answer(address, answer, asked_at))
        except Unauthorized as error:
            # Whoever is there has not proved the secret: it keeps this node from nothing (ADR 77).
            self.view.on_failed(address, asked_at=asked_at, now=self._clock.monotonic())
            self._unanswered.on_answer(self._name_of(address))
            self._tell(address, f"{_STRANGER}; it says: {error}", kind=_STRANGER)
        except (*MACHINE_FAULTS, LinkLost, ValueError) as error:  # TimeoutError is an OSError
            self.view.on_failed(address, asked_at=asked_at, now=self._clock.monotonic())
            self._on_failed(address, error)
        if self.view.is_settled:
            self._settled.set()
        self._changed.set()

    def _on_addresses(self, name: Address, found: Sequence[str], asked_at: float) -> None:
        """A name has several addresses, each of which may be another node's: all of them are called from now on."""
        addresses = [(each, name[1]) for each in found]
        if name in self._well_known:
            self._named = {each: of for each, of in self._named.items() if of != name}
            self._named |= dict.fromkeys(addresses, name)
        if name in self._links:
            self._links.pop(name).close()
        self.view.on_addresses(name, addresses, asked_at=asked_at, now=self._clock.monotonic())

    def _name_of(self, address: Address) -> Address:
        """Return how the configuration calls an address that one of its names has."""
        return address if address in self._well_known else self._named.get(address, address)

    def _drop_links(self) -> None:
        """Close the connections to addresses that are called no more."""
        for address in [each for each in self._links if not self.view.knows(each)]:
            self._links.pop(address).close()

    def _on_failed(self, address: Address, error: BaseException) -> None:
        """Say that nobody has ever answered at an address that the configuration names, once it is so for a while."""
        reason = str(error) or f"no answer within {self._timeout:g} s"
        if self._names.is_waiting_for(address[0]):
            reason = f"nobody has said yet which address the name '{address[0]}' has"
        elif isinstance(error, OSError) and error.strerror:
            reason = error.strerror  # without the address, which would be another one each time
        _log.debug("a peer does not answer", address=endpoint(*address), reason=reason)
        address = self._name_of(address)
        if address not in self._well_known:
            return
        seconds = self._unanswered.on_failed(address, reason, self._clock.monotonic())
        if seconds is not None:
            _log.warning(
                "A well-known member has never answered",
                address=endpoint(*address),
                seconds=round(seconds),
                reason=reason,
                advice="compare members of axis2.xml with localMemberHost and localMemberPort of that node",
            )

    def _on_answer(self, address: Address, answer: Mapping[str, Any], asked_at: float) -> str:
        """Report an answer; return why it makes no member. Raises ValueError when it cannot be read."""
        now = self._clock.monotonic()
        if _REFUSED in answer:
            self._unanswered.on_answer(self._name_of(address))
            reason = str(answer[_REFUSED])[:500]
            self.view.on_refused(address, reason, asked_at=asked_at, now=now)
            return reason
        greeting = decode(answer.get(_CALL))
        if greeting.incarnation != self.view.incarnation:  # of a name it may be this node's address that answers
            self._unanswered.on_answer(self._name_of(address))
        reason = self.view.on_answer(address, greeting, asked_at=asked_at, now=now)
        if not reason and greeting.silence not in (0.0, self._silence):
            self._tell_of_times(greeting)
        return reason

    async def _ask(self, address: Address, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """Ask over the connection that there is, or over a new one."""
        link = self._links.pop(address, None)
        answer = None
        if link is not None:
            with suppress(LinkLost):  # the peer may have begun anew since the last call
                answer = await link.call(message)
        if link is None or answer is None:
            link = await PeerLink.open(*address, self._security, self._names)
            try:
                answer = await link.call(message)
            except BaseException:
                link.close()
                raise
        self._links[address] = link
        return answer

    # Calls of peers

    def _answer(self, message: Mapping[str, Any], peer: str) -> Mapping[str, Any]:
        greeting = decode(message.get(_CALL))
        reason = self.view.on_call(greeting, self._clock.monotonic())
        self._tell(greeting.incarnation, reason, peer=peer)
        self._changed.set()
        return {_REFUSED: reason} if reason else {_CALL: encode(self.view.greeting())}

    def _tell(self, node: Address | Incarnation, reason: str, *, kind: str = "", peer: str = "") -> None:
        """Log why a node is no member when that is another reason, or of another kind, than before.

        `peer` is where its call came from.
        """
        if not self._is_new(node, kind or reason) or not reason:
            return
        left_out = self._lines.take(self._clock.monotonic())
        if left_out is None:
            del self._told[node]
            return
        more = {"peer": peer} if peer else {}
        if left_out:
            more["lines_left_out"] = str(left_out)
        _log.warning("A node is not taken for a member", node=_name(node), reason=reason, **more)

    def _tell_of_times(self, other: Greeting) -> None:
        node_id = other.incarnation.node_id
        if self._is_new(("times", other.incarnation), f"{other.silence:g}"):
            _log.warning(
                "Nodes differ in how soon a silent member is gone, so one may see the other leave and not the other way"
                " round",
                node=node_id,
                its_seconds=other.silence,
                own_seconds=self._silence,
                advice="give all nodes the same hazelcast.properties and heartbeatInterval",
            )

    def _is_new(self, about: object, told: str) -> bool:
        """Note what is told; return whether it was something else before."""
        if self._told.get(about, "") == told:
            return False
        if len(self._told) >= _MOST_TOLD:
            self._told.clear()
        self._told[about] = told
        return True


def _name(node: Address | Incarnation) -> str:
    return node.node_id if isinstance(node, Incarnation) else endpoint(*node)
