"""Keeps this node's row in the store: registers it when no other node objects, lets it beat, and ends it.

What is due, and what an answer means, `OwnRow` says; whose terms differ, `TermsCheck`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeAlias

import structlog

from broker.clock import Clock
from broker.coordination.membership.own_row import DuplicateNodeId, OwnRow, ReadOwnRow, Step
from broker.coordination.membership.pending_request import timeout_of
from broker.coordination.membership.requests import Requests
from broker.coordination.membership.terms import TermsCheck, TermsDiffer
from broker.coordination.membership.waiting import until
from broker.errors import StoreUnavailable
from broker.machine.address import endpoint
from broker.ports.cluster import ClusterStore
from broker.ports.cluster_rows import Beat, Leave, NodeRow, NodeState

_log = structlog.get_logger(__name__)

Answers: TypeAlias = Callable[[NodeRow], Awaitable[bool]]
"""Returns whether the incarnation of a row answers at the row's address."""


class RowKeeper:
    """Does the steps of one node's `OwnRow`."""

    def __init__(
        self,
        own_row: OwnRow,
        store: ClusterStore,
        requests: Requests,
        clock: Clock,
        *,
        node_id: str,
        address: tuple[str, int],
        heartbeat_interval: float,
        terms: str,
        answers: Answers | None,
        on_beat: Callable[[float], None],
        on_failed: Callable[[], None],
    ) -> None:
        """`on_beat` is told when a beat or registration was asked for that was done, `on_failed` of no answer."""
        self._own_row = own_row
        self._store = store
        self._requests = requests
        self._clock = clock
        self._node_id = node_id
        self._address = address
        self._heartbeat_interval = heartbeat_interval
        self._terms = terms
        self._answers = answers
        self._on_beat = on_beat
        self._on_failed = on_failed
        self._is_namesake_asked = False

    async def register(self) -> None:
        """Return when the row is UP in a new incarnation; raises `DuplicateNodeId` and `TermsDiffer`."""
        check = TermsCheck(self._node_id, self._terms, self._heartbeat_interval)
        await self._compare(check)
        await self._until_trusted()
        while not await self._is_alone_or_agrees(check):
            await self._until_trusted()

    async def take(self, step: Step) -> None:
        """Do one step of `OwnRow` and report the answer to it. Raises `DuplicateNodeId`."""
        own_row, asked_at = self._own_row, step.asked_at
        call: Any
        if isinstance(step, ReadOwnRow):
            call = self._store.own_row(self._node_id)
        elif isinstance(step, Beat):
            call = self._store.beat(step, self._node_id)
        else:
            call = self._store.register_node(step, self._node_id, *self._address, self._terms)
        try:
            answer = await self._requests.answer(call, step.until)
        except StoreUnavailable:
            own_row.on_failed(asked_at=asked_at, now=self._clock.monotonic())
            self._on_failed()
            return
        now = self._clock.monotonic()
        if isinstance(step, ReadOwnRow):
            await self._ask_namesake(answer)
            own_row.on_row(answer, asked_at=asked_at, now=now)
        elif answer:
            own_row.on_granted(asked_at=asked_at, now=now)
            self._on_beat(asked_at)
        else:
            own_row.on_refused(asked_at=asked_at, now=now)

    async def tell(self, leave: Leave | None) -> None:
        """Tell the others that the incarnation is over."""
        if leave is not None:
            await self._requests.briefly(self._store.leave(leave, self._node_id))

    async def _until_trusted(self) -> None:
        own_row = self._own_row
        while not own_row.is_trusted(now := self._clock.monotonic()):
            step = own_row.next_action(now)
            if step is None:
                await until(self._clock, own_row.next_deadline())
            else:
                await self.take(step)

    async def _compare(self, check: TermsCheck) -> None:
        """Return when no living node has other terms than this one. Raises `TermsDiffer`."""
        while self._terms:
            with suppress(StoreUnavailable):
                rows = await self._nodes()
                if check.on_nodes(rows, self._clock.monotonic()):
                    return
                await self._ask_who_differs(check)
                _log.info("waiting for a node with other terms to show that it lives, or to have ended")
            await self._pause()

    async def _ask_who_differs(self, check: TermsCheck) -> None:
        """Ask the processes of rows with other terms, once each: who can be called need not be watched."""
        for row in check.take_unasked():
            if self._answers is not None and await self._answers(row):
                raise check.difference(row)

    async def _is_alone_or_agrees(self, check: TermsCheck) -> bool:
        """Return whether nobody with other terms has registered at the same time. Raises `TermsDiffer`."""
        if not self._terms:
            return True
        with suppress(StoreUnavailable):
            rows = await self._nodes()
            try:
                if check.on_registered(rows, self._clock.monotonic()):
                    return True
            except TermsDiffer:
                await self.tell(self._own_row.stop())
                raise
        if (step := self._own_row.next_action(self._clock.monotonic())) is not None:
            await self.take(step)
        await self._pause()
        return False

    async def _nodes(self) -> list[NodeRow]:
        wait = timeout_of(self._heartbeat_interval)
        return list(await self._requests.answer(self._store.nodes(), self._clock.monotonic() + wait))

    async def _pause(self) -> None:
        await until(self._clock, self._clock.monotonic() + 0.25 * self._heartbeat_interval)

    async def _ask_namesake(self, row: NodeRow | None) -> None:
        """Ask the process of a row that has this node's id, once. Raises `DuplicateNodeId` when it answers.

        One that does not has ended, or cannot be reached: that its row goes on beating shows later.
        """
        if self._is_namesake_asked or row is None or row.state is not NodeState.UP:
            return
        self._is_namesake_asked = True
        if self._answers is not None and await self._answers(row):
            raise DuplicateNodeId(self._node_id, row)
        _log.info(
            "another process had this node's id, and may have it still: waiting whether its beats go on",
            node=self._node_id,
            address=endpoint(row.host, row.port),
            seconds=2 * self._heartbeat_interval,
        )
