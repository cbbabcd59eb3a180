"""Calls every living member at short intervals, and reports who cannot be reached.

`membership/contacts` decides what silence means.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final

import structlog

from broker.clock import Clock
from broker.coordination.membership.contacts import ContactChange, Contacts, Way
from broker.errors import CoordinationError, StoreError
from broker.machine.address import endpoint, ip_address
from broker.machine.faults import MachineFaults
from broker.ports.cluster import SlotService
from broker.ports.cluster_rows import Incarnation
from broker.ports.peer_calls import Caller

_log = structlog.get_logger(__name__)

_AGAIN: Final = 0.05
_EFFECT: Final = "messages pass through the database, which is slower"


class ContactCalls:
    """Keeps `contacts` up to date while `run` runs."""

    def __init__(
        self,
        contacts: Contacts,
        clock: Clock,
        *,
        address: tuple[str, int],
        members: Callable[[], Mapping[Incarnation, SlotService]],
        last_beats: Callable[[], Mapping[str, float]],
        is_served: Callable[[], bool],
        caller: Callable[[], Caller],
        note: Callable[[Incarnation, bool], Awaitable[None]],
        interval: float,
        last_event: Callable[[], int] = int,
    ) -> None:
        """`address` is this node's own, which it tells the others; `is_served` whether the coordinator answers it;
        `note` writes into the membership that this node reaches a member, or does not. Every `interval` seconds each
        member is called that has answered the call before, and told the last event that this node has applied.
        """
        self._contacts = contacts
        self._clock = clock
        self._address = address
        self._members = members
        self._last_beats = last_beats
        self._is_served = is_served
        self._caller = caller
        self._note = note
        self._interval = interval
        self._last_event = last_event
        self._under_way: set[Incarnation] = set()

    async def run(self) -> None:
        """Call and report until cancelled."""
        faults = MachineFaults("contacts")
        async with asyncio.TaskGroup() as calls:
            while True:
                with faults:
                    self.call_all(calls)
                    await self.report()
                await asyncio.sleep(self._interval)

    def call_all(self, calls: asyncio.TaskGroup) -> None:
        """Begin a call to each member to which none is under way."""
        for member, service in self._members().items():
            if member not in self._under_way:
                self._under_way.add(member)
                calls.create_task(self._call(member, service), name=f"contact {member.node_id}")

    async def _call(self, member: Incarnation, service: SlotService) -> None:
        try:
            await self._reach(member, service)
        finally:
            self._under_way.discard(member)

    async def _reach(self, member: Incarnation, service: SlotService) -> bool:
        """Call a member once; return whether it knows this node."""
        try:
            await service.contact(self._is_served(), self._caller(), self._last_event())
        except CoordinationError as error:
            self._contacts.on_failure(member, str(error))
            return False
        self._contacts.on_answer(member, self._clock.monotonic())
        return True

    async def introduce(self, seconds: float) -> None:
        """Call all members until each knows this node, at most for so long: then they have read it from the store."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as calls:
                for member, service in self._members().items():
                    calls.create_task(self._introduce(member, service), name=f"introduction to {member.node_id}")

    async def _introduce(self, member: Incarnation, service: SlotService) -> None:
        is_known = await self._reach(member, service)
        while not is_known:
            await asyncio.sleep(_AGAIN)
            is_known = await self._reach(member, service)

    async def report(self) -> None:
        """Log what has changed, and write into the membership whom this node does not reach."""
        for change in self._contacts.take_changes(self._last_beats()):
            self._tell(change)
            if change.way is Way.OUT:
                with suppress(StoreError):  # the log has it
                    await self._note(Incarnation(change.member.node_id, change.member.incarnation), not change.is_lost)

    def _tell(self, change: ContactChange) -> None:
        member, is_out = change.member, change.way is Way.OUT
        host, port = (member.host, member.port) if is_out else self._address
        log = _log.bind(member=member.node_id, address=endpoint(host, port))
        if not change.is_lost:
            log.info("Member is reached again" if is_out else "Member reaches this node again")
        elif is_out:
            log.warning(
                "Member cannot be reached",
                effect=_EFFECT,
                reason=change.reason,
                check=f"that node's thriftServerHost{self._remark(host, port)}, clusterSecret, and the network between",
            )
        else:
            log.warning(
                "Member does not reach this node",
                effect=_EFFECT,
                check=f"this node's thriftServerHost{_hint(host)}, clusterSecret, and the network between",
            )

    def _remark(self, host: str, port: int) -> str:
        """Return a remark on the address of a member."""
        if (host, port) == self._address:
            return f" ('{endpoint(host, port)}' is this node's own address; one of the two must name its own machine)"
        return _hint(host)


def _hint(host: str) -> str:
    """Return a remark on an address that only its own machine can reach."""
    is_loopback = host == "localhost"
    with suppress(ValueError):
        is_loopback = ip_address(host).is_loopback
    return f" ('{host}' is reached on its own machine only)" if is_loopback else ""
