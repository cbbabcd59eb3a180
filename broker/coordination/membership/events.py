"""Membership events: members, coordinator and trust, told to the node and to its log when they change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import structlog

from broker.coordination.membership.members import MemberEvent, MemberLeft
from broker.ports.cluster_rows import NodeRow
from broker.ports.peer_calls import Fence

_log = structlog.get_logger(__name__)


class Listener(Protocol):
    """The part of the node that acts on the events. Its methods must not wait."""

    def on_members(self, members: Mapping[str, NodeRow]) -> None:
        """`members` are the other living nodes. Called after the first read of them, and after every change of them or
        of those that live by the store.
        """
        ...

    def on_elected(self, fence: Fence) -> None:
        """This node has become the coordinator, with this fence."""
        ...

    def on_stepped_down(self) -> None: ...

    def on_trust(self, is_trusted: bool) -> None:
        """Deliveries may go on, or must pause while this node is not trusted."""
        ...


class MembershipEvents:
    """Tells the listener and the log what has changed; log lines have the words that WSO2's administrators know."""

    __slots__ = ("_has_members", "_listener", "_log", "_power", "_was_trusted")

    def __init__(self, node_id: str, listener: Listener) -> None:
        self._listener = listener
        self._log = _log.bind(node=node_id)
        self._has_members = False
        self._power: Fence | None = None
        self._was_trusted = False

    def trust(self, is_trusted: bool, *, is_over: bool) -> None:
        """Tell whether this node is trusted. When its incarnation `is_over`, the end of trust is not logged."""
        if is_trusted is self._was_trusted:
            return
        self._was_trusted = is_trusted
        if not is_trusted and not is_over:
            self._log.warning("Node's trust has run out: deliveries pause")
        self._listener.on_trust(is_trusted)

    def power(self, power: Fence | None) -> None:
        """Tell the fence with which this node is the coordinator, None while it is not."""
        if power == self._power:
            return
        before, self._power = self._power, power
        if before is not None:
            self._log.info("This node is not the coordinator any more", epoch=before.epoch)
            self._listener.on_stepped_down()
        if power is not None:
            self._log.info("This node is now the coordinator", epoch=power.epoch)
            self._listener.on_elected(power)

    def coordinator(self, node_id: str, epoch: int) -> None:
        """Tell that another node has become the coordinator."""
        self._log.info("Coordinator changed", coordinator=node_id, epoch=epoch)

    def members(
        self, events: Iterable[MemberEvent], members: Mapping[str, NodeRow], *, has_changed: bool = False
    ) -> None:
        """Tell what has happened since the last read of all rows, and who the members are now. `has_changed`: among
        those that live by the store, too, which a member may do for a while after nobody sees it any more.
        """
        has_changed |= not self._has_members
        self._has_members = True
        for event in events:
            has_changed = True
            text = "Member left" if isinstance(event, MemberLeft) else "Member joined"
            self._log.info(text, member=event.node_id, incarnation=event.incarnation)
        if has_changed:
            self._listener.on_members(members)
