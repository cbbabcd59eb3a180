"""Who of the living members can call whom: each node calls all others, and notes who answers and who calls.

Nodes that share the store go on without their network, but then nobody tells them what is wanted where. Pure: does no
I/O and reads no clock; `contact_calls` makes the calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from broker.ports.cluster_rows import Incarnation, NodeRow


class Way(Enum):
    """A direction in which calls go between this node and a member."""

    OUT = "out"
    IN = "in"


@dataclass(frozen=True, slots=True)
class ContactChange:
    """Calls to a member, or from it, do not arrive any more, or do again; `reason` is why the last one has failed."""

    member: NodeRow
    way: Way
    is_lost: bool
    reason: str = ""


@dataclass(slots=True)
class _Contact:
    """A member, and when (monotonic) a call to it and from it arrived last; a call that also said that the coordinator
    answers the member is in `served_at` too.
    """

    row: NodeRow
    reached_at: float
    called_at: float
    served_at: float
    reason: str = "no answer yet"
    is_lost_out: bool = False
    is_lost_in: bool = False


class Contacts:
    """The contacts of this node with the other living members.

    Silence counts only while the member lives: from the last call that arrived to the last beat that was seen of it. So
    a member that has just died is not out of contact.
    """

    __slots__ = ("_contacts", "_silence")

    def __init__(self, heartbeat_interval: float) -> None:
        """A member that beats and is not heard of for two heartbeat intervals is out of contact."""
        self._silence = 2 * heartbeat_interval
        self._contacts: dict[Incarnation, _Contact] = {}

    def on_members(self, members: Mapping[str, NodeRow], now: float) -> None:
        """`members` are the other living nodes now."""
        before, self._contacts = self._contacts, {}
        for row in members.values():
            incarnation = Incarnation(row.node_id, row.incarnation)
            self._contacts[incarnation] = before.get(incarnation) or _Contact(row, now, now, now)

    def on_answer(self, member: Incarnation, now: float) -> None:
        """The member has answered a call of this node."""
        contact = self._contacts.get(member)
        if contact is not None:
            contact.reached_at = now

    def on_failure(self, member: Incarnation, reason: str) -> None:
        """A call to the member has failed."""
        contact = self._contacts.get(member)
        if contact is not None:
            contact.reason = reason

    def on_call(self, member: Incarnation, now: float, *, is_served: bool) -> None:
        """The member has called; `is_served` when it says that the coordinator answers it."""
        contact = self._contacts.get(member)
        if contact is not None:
            contact.called_at = now
            if is_served:
                contact.served_at = now

    def cut_off(self, last_beats: Mapping[str, float]) -> frozenset[Incarnation]:
        """Return the members of whose demand this node cannot know: they do not call it, or get no answer from the
        coordinator. `last_beats` are the times when a beat of each member was first seen, by node id.
        """
        return frozenset(
            member
            for member, contact in self._contacts.items()
            if self._is_silent(contact, contact.served_at, last_beats)
        )

    def take_changes(self, last_beats: Mapping[str, float]) -> list[ContactChange]:
        """Return which contacts were lost or are back since the last call."""
        changes = []
        for contact in self._contacts.values():
            is_lost = self._is_silent(contact, contact.reached_at, last_beats)
            if is_lost is not contact.is_lost_out:
                contact.is_lost_out = is_lost
                changes.append(ContactChange(contact.row, Way.OUT, is_lost, contact.reason if is_lost else ""))
            is_lost = self._is_silent(contact, contact.called_at, last_beats)
            if is_lost is not contact.is_lost_in:
                contact.is_lost_in = is_lost
                changes.append(ContactChange(contact.row, Way.IN, is_lost))
        return changes

    def _is_silent(self, contact: _Contact, heard_at: float, last_beats: Mapping[str, float]) -> bool:
        return last_beats.get(contact.row.node_id, heard_at) - heard_at >= self._silence
