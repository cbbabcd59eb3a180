"""Whom a node sees of its peers: it calls all that it knows of, and takes those for members that answer (ADR 76).

Pure: does no I/O and reads no clock. The caller makes the calls of `due`, reports what came of each with the time when
it was made, and comes again at `next_deadline`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

from broker.coordination.peering.greeting import MOST_ADDRESSES, MOST_RANK, Address, ClusterTerms, Greeting, objection
from broker.machine.address import is_name as _is_name
from broker.ports.cluster_rows import Incarnation

MOST_CONTACTS: Final = 2 * MOST_ADDRESSES
_CALLS_AT_ONCE: Final = 64
_KEPT: Final = 30
"""Times of silence for which an address is kept that no configuration names and where nobody answers."""


@dataclass(frozen=True, slots=True)
class Detector:
    """How soon a member that is silent counts as gone, in seconds."""

    interval: float
    """Between two calls to an address."""
    silence: float
    """From the last call that was answered on."""


@dataclass(slots=True)
class _Contact:
    """An address, and what is known of who is there."""

    is_well_known: bool
    is_name: bool
    due: float
    kept_until: float
    asked_at: float | None = None
    """When the call that is under way was made."""
    answered_at: float = -inf
    """When the last call was made that was answered."""
    greeting: Greeting | None = None
    refusal: str = ""
    is_own: bool = False
    was_tried: bool = False

    @property
    def is_called(self) -> bool:
        """Is it to be called, when it is due? This node's own address is not; its name may become another's, too."""
        return self.asked_at is None and (self.is_name or not self.is_own)


class PeerView:
    """The peers of one incarnation of a node; a `MembershipView`."""

    needs_store = False

    def __init__(
        self,
        incarnation: Incarnation,
        address: Address,
        thrift: Address,
        terms: ClusterTerms,
        well_known: Iterable[Address],
        detector: Detector,
        *,
        may_lead: Callable[[], bool],
        jitter: Callable[[], float],
        now: float,
    ) -> None:
        """`address` is where the peers call this node, `thrift` where its slot service is.

        `may_lead` says whether this node reaches the store and sees enough members. `jitter` returns random numbers
        from 0 to 1.
        """
        self.incarnation = incarnation
        self.rank = 0
        self._address = address
        self._thrift = thrift
        self._terms = terms
        self._constant = Greeting(incarnation, address, thrift, 0, False, terms)
        self._detector = detector
        self._may_lead = may_lead
        self._jitter = jitter
        self._highest = 0
        self._looked_at = now
        self._contacts: dict[Address, _Contact] = {}
        self.living: Collection[Incarnation] = ()
        """The nodes that live by the database: their addresses are not forgotten for those of others."""
        for each in well_known:
            if each != address:
                self._contacts[each] = _Contact(True, _is_name(each[0]), now, inf)
        self._settle()

    # Calls to others

    @property
    def well_known(self) -> Iterable[Address]:
        """Where the configuration says that members are, but for this node's own address."""
        return [address for address, contact in self._contacts.items() if contact.is_well_known]

    def greeting(self) -> Greeting:
        """Return what this node tells its peers now."""
        known = (each.greeting.address for each in self._fresh() if each.greeting is not None)
        return Greeting(
            self.incarnation,
            self._address,
            self._thrift,
            self.rank,
            self.rank > 0 and self._may_lead(),
            self._terms,
            tuple(dict.fromkeys(known))[:MOST_ADDRESSES],
            self._detector.silence,
        )

    def due(self, now: float) -> list[Address]:
        """Return the addresses to call now; each call is under way until what came of it is reported."""
        self.on_time(now)
        due: list[Address] = []
        for address, contact in self._contacts.items():
            if contact.is_called and now >= contact.due and len(due) < _CALLS_AT_ONCE:
                contact.asked_at = now
                due.append(address)
        return due

    def on_time(self, now: float) -> None:
        """Time has passed. If that was long this node itself was held up, and others had no chance to answer it."""
        gap, self._looked_at = now - self._looked_at, max(now, self._looked_at)
        if gap > self._detector.silence / 2:
            for contact in self._contacts.values():
                contact.answered_at += gap
        for address in [each for each, contact in self._contacts.items() if now >= contact.kept_until]:
            del self._contacts[address]

    def on_answer(self, address: Address, greeting: Greeting, *, asked_at: float, now: float) -> str:
        """The call was answered. Return why who answered is no member; empty when it is one."""
        contact = self._done(address, asked_at, now)
        if contact is None:
            return ""
        contact.is_own = greeting.incarnation == self.incarnation
        contact.refusal = objection(self._constant, greeting)
        contact.greeting = None
        if not contact.is_own and not contact.refusal:
            contact.greeting, contact.answered_at = greeting, asked_at
            contact.kept_until = max(contact.kept_until, now + _KEPT * self._detector.silence)
            self._highest = max(self._highest, greeting.rank)
            for known in (greeting.address, *greeting.known):
                if known != self._address and self._learn(known, now) is None:
                    break
        self._settle()
        return contact.refusal

    def on_addresses(self, address: Address, found: Sequence[Address], *, asked_at: float, now: float) -> None:
        """The name of an address has several addresses: each of them is called instead. The node's own, and some where
        nobody is, may be among them.
        """
        named = self._done(address, asked_at, now)
        if named is None:
            return
        for each in found[:MOST_ADDRESSES]:
            contact = self._learn(each, now)
            if contact is not None:
                contact.is_well_known |= named.is_well_known
                if contact.greeting is None:
                    contact.due = min(contact.due, now)
        self._settle()

    def on_refused(self, address: Address, reason: str, *, asked_at: float, now: float) -> None:
        """Who is there does not take this node for a member."""
        contact = self._done(address, asked_at, now)
        if contact is not None:
            contact.greeting, contact.refusal = None, reason
            self._settle()

    def on_failed(self, address: Address, *, asked_at: float, now: float) -> None:
        """No answer came."""
        if self._done(address, asked_at, now) is not None:
            self._settle()

    # Calls of others

    def on_call(self, greeting: Greeting, now: float) -> str:
        """A peer has called. Return why it is not taken for a member; empty when it may be one.

        That it calls says that it lives, not that this node reaches it: it becomes a member when it answers.
        """
        reason = objection(self._constant, greeting)
        if not reason and greeting.incarnation != self.incarnation:
            self._highest = max(self._highest, greeting.rank)
            contact = self._learn(greeting.address, now)
            known = None if contact is None or contact.greeting is None else contact.greeting.incarnation
            if contact is not None and known != greeting.incarnation:
                contact.due, contact.is_own = now, False
        return reason

    # What is known

    @property
    def is_settled(self) -> bool:
        """Has every well-known member been called once? Then this node has its place in the order."""
        return self.rank > 0

    def members(self) -> Mapping[Incarnation, Greeting]:
        """Return who answers."""
        return {each.greeting.incarnation: each.greeting for each in self._fresh() if each.greeting is not None}

    def refusals(self) -> Mapping[Address, str]:
        """Return why those who were called are no members, by address."""
        return {address: contact.refusal for address, contact in self._contacts.items() if contact.refusal}

    def knows(self, address: Address) -> bool:
        """Is the address to be called, now or later?"""
        return address in self._contacts

    def includes(self, member: Incarnation) -> bool:
        return any(each.greeting is not None and each.greeting.incarnation == member for each in self._fresh())

    def is_nominated(self, living: Collection[Incarnation]) -> bool:
        """Is this node the oldest of those that may lead?"""
        if not self.rank or not self._may_lead():
            return False
        own = self.rank, self.incarnation.node_id
        return all(
            own < (greeting.rank, member.node_id)
            for member, greeting in self.members().items()
            if greeting.may_lead and greeting.rank and member in living
        )

    def next_deadline(self) -> float:
        """Return when a call is due, or a member is gone unless it answers."""
        deadlines = [self._looked_at + self._detector.silence / 4]
        for contact in self._contacts.values():
            if contact.is_called:
                deadlines.append(contact.due)
            if contact.greeting is not None and (end := contact.answered_at + self._detector.silence) > self._looked_at:
                deadlines.append(end)
        return min(deadlines)

    def _fresh(self) -> Iterable[_Contact]:
        oldest = self._looked_at - self._detector.silence
        return (each for each in self._contacts.values() if each.answered_at > oldest)

    def _done(self, address: Address, asked_at: float, now: float) -> _Contact | None:
        contact = self._contacts.get(address)
        if contact is None or contact.asked_at != asked_at:
            return None
        self.on_time(now)
        contact.asked_at = None
        contact.was_tried = True
        contact.due = max(now, asked_at + self._detector.interval * (0.8 + 0.2 * self._jitter()))
        return contact

    def _learn(self, address: Address, now: float) -> _Contact | None:
        """Note where a peer may be; return what is known of it."""
        if address == self._address:
            return None
        contact = self._contacts.get(address)
        if contact is None:
            if len(self._contacts) >= MOST_CONTACTS and not self._make_room():
                return None
            contact = self._contacts[address] = _Contact(False, _is_name(address[0]), now, 0.0)
        contact.kept_until = max(contact.kept_until, now + _KEPT * self._detector.silence)
        return contact

    def _make_room(self) -> bool:
        """Forget the oldest address where no living node of the cluster answers and that no configuration names.

        Return whether there was one; those that are being called stay.
        """
        for address, contact in self._contacts.items():
            is_member = contact.greeting is not None and contact.greeting.incarnation in self.living
            if not (is_member or contact.is_well_known or contact.asked_at is not None):
                del self._contacts[address]
                return True
        return False

    def _settle(self) -> None:
        """Take a place behind all that are known, once every well-known member was called."""
        if not self.rank and all(each.was_tried or not each.is_well_known for each in self._contacts.values()):
            self.rank = min(self._highest + 1, MOST_RANK)  # others take a higher one for none
