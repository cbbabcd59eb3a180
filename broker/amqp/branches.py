"""Branches of distributed transactions that are not prepared: which there are on this node, and whose work they hold.

A branch belongs to the channels that worked for it. When one of them ends, the whole branch is rolled back: what it
published is forgotten, what it acknowledged is given back, and no other channel can commit it. A prepared branch is in
the store and nowhere else (`branch_work`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import Final

from broker.amqp.deliveries import Deliveries
from broker.amqp.publishing import Publisher
from broker.amqp.transaction import Transaction
from broker.errors import BranchNotAllowed, BranchStateInvalid, InternalError, ResourceFault
from broker.message import Message
from broker.ports.branches import BranchKey

BRANCHES_OF_A_CHANNEL: Final = 20
"""How many branches, not prepared, a channel may work for at a time (as Andes)."""


@dataclass(eq=False, slots=True)
class Part:
    """What one channel did for a branch."""

    publisher: Publisher
    deliveries: Deliveries
    transaction: Transaction
    acked: list[Message] = field(default_factory=list)

    def hold(self, messages: list[Message]) -> None:
        """Deliveries are acknowledged, if the branch is committed."""
        self.acked += messages
        self.deliveries.hold(messages)

    def roll_back(self, *, is_lost: bool) -> None:
        """Forget the publishes and give the deliveries back. `is_lost`: no client has asked for that."""
        self.transaction.take()
        acked, self.acked = self.acked, []
        self.deliveries.release(acked)
        self.deliveries.requeue(acked, is_lost=is_lost)


@dataclass(eq=False, slots=True)
class Branch:
    """A branch that is not prepared."""

    key: BranchKey
    parts: dict[BranchSession, Part] = field(default_factory=dict)
    working: set[BranchSession] = field(default_factory=set)
    """The channels on which it is started, or suspended."""
    deadline: float = inf
    has_expired: bool = False
    has_failed: bool = False
    is_busy: bool = False
    """Is it being prepared or committed?"""

    def roll_back(self, *, is_lost: bool = False) -> None:
        """Undo what was done so far. `is_lost`: no client has asked for that."""
        for part in self.parts.values():
            part.roll_back(is_lost=is_lost)

    def forget(self) -> None:
        """It is no channel's any more."""
        for session in self.parts:
            session.parts.pop(self, None)


class Branches:
    """All branches of this node that are not prepared."""

    def __init__(
        self,
        *,
        max_channels: int,
        max_octets: int,
        monotonic: Callable[[], float],
        watch: Callable[[Branches], None],
        dispatch: Callable[[], object],
    ) -> None:
        """At most `max_channels` work for branches at a time, and a channel for branches of `max_octets` in all.

        `watch` is called when the next deadline has come nearer, and `dispatch` when messages were given back at one.
        """
        self.max_channels = max_channels
        self.max_octets = max_octets
        self._monotonic = monotonic
        self._watch = watch
        self._dispatch = dispatch
        self.by_key: dict[BranchKey, Branch] = {}
        self.sessions: set[BranchSession] = set()

    def select(self, vhost: str, publisher: Publisher, deliveries: Deliveries) -> BranchSession:
        """One more channel works for branches."""
        if len(self.sessions) >= self.max_channels:
            raise InternalError(
                f"{self.max_channels} channels have distributed transactions already, which is the maximum"
            )
        session = BranchSession(self, vhost, publisher, deliveries)
        self.sessions.add(session)
        return session

    def find(self, key: BranchKey) -> Branch:
        """Return a branch, or raise `BranchNotAllowed`."""
        branch = self.by_key.get(key)
        if branch is None:
            raise BranchNotAllowed("no such branch")
        return branch

    def take_finished(self, key: BranchKey) -> Branch | None:
        """Return a branch on which nobody works any more, if there is one of this name; it is to be resolved now."""
        branch = self.by_key.get(key)
        if branch is None:
            return None
        if branch.working or branch.is_busy:
            raise BranchStateInvalid("the branch has not ended")
        return branch

    def drop(self, branch: Branch) -> None:
        """The branch is resolved, prepared, or rolled back."""
        branch.forget()
        self.by_key.pop(branch.key, None)

    # Deadlines

    def set_timeout(self, branch: Branch, seconds: int) -> None:
        """Roll the branch back after so many seconds, unless it is prepared before; 0 for never."""
        branch.deadline = self._monotonic() + seconds if seconds else inf
        self._watch(self)

    def next_deadline(self) -> float | None:
        """Return when the next branch is to be rolled back."""
        deadline = min((each.deadline for each in self.by_key.values() if not each.has_expired), default=inf)
        return None if deadline == inf else deadline

    def on_time(self, now: float) -> None:
        """Roll back what is due. The branch stays until its channels know."""
        for branch in self.by_key.values():
            if branch.deadline <= now and not branch.has_expired:
                branch.has_expired = True
                if not branch.is_busy:
                    branch.roll_back(is_lost=True)
        self._dispatch()


class BranchSession:
    """What a channel does for branches: for one at a time."""

    def __init__(self, branches: Branches, vhost: str, publisher: Publisher, deliveries: Deliveries) -> None:
        self._branches = branches
        self.vhost = vhost
        self._publisher = publisher
        self._deliveries = deliveries
        self.parts: dict[Branch, Part] = {}
        self._current: Branch | None = None
        self._suspended: set[Branch] = set()

    @property
    def octets(self) -> int:
        """What the publishes of all branches occupy."""
        return sum(part.transaction.octets for part in self.parts.values())

    def start(self, key: BranchKey, *, join: bool, resume: bool) -> None:
        """What the channel publishes and acknowledges from now on belongs to the branch.

        Raises `BranchNotAllowed` for a branch that is there already, or to `join` or `resume` is not there, and
        `BranchStateInvalid` when the channel works for another one.
        """
        if join and resume:
            raise BranchStateInvalid("a branch is joined or resumed, not both")
        if self._current is not None:
            raise BranchStateInvalid("the channel works for another branch")
        if join or resume:
            branch = self._branches.find(key)
            if branch.is_busy or (resume and branch not in self._suspended):
                raise BranchStateInvalid("the branch is not suspended" if resume else "the branch has ended")
        elif key in self._branches.by_key:
            raise BranchNotAllowed("the branch is started already")
        else:
            branch = Branch(key)
        if branch not in self.parts:
            if len(self.parts) >= BRANCHES_OF_A_CHANNEL:
                raise ResourceFault(f"the channel works for {BRANCHES_OF_A_CHANNEL} branches, which is the maximum")
            branch.parts[self] = self.parts[branch] = Part(self._publisher, self._deliveries, Transaction(0))
        self._branches.by_key[key] = branch
        branch.working.add(self)
        self._suspended.discard(branch)
        self._work_for(branch)

    def end(self, key: BranchKey, *, fail: bool, suspend: bool) -> Branch:
        """What the channel does from now on does not belong to the branch any more.

        Raises `BranchNotAllowed` for an unknown branch, and `BranchStateInvalid` if the channel does not work for it.
        """
        branch = self._branches.find(key)
        if fail and suspend:
            raise BranchStateInvalid("a branch is suspended or has failed, not both")
        if branch is not self._current and (suspend or branch not in self._suspended):
            raise BranchStateInvalid("the channel does not work for the branch")
        if branch is self._current:
            self._work_for(None)
        branch.has_failed |= fail
        if suspend:
            self._suspended.add(branch)
        else:
            self._suspended.discard(branch)
            branch.working.discard(self)
        if branch.has_failed or branch.has_expired:
            branch.roll_back()
        return branch

    def _work_for(self, branch: Branch | None) -> None:
        self._current = branch
        if branch is None:
            self._publisher.transaction = self._deliveries.branch = None
            return
        part = self.parts[branch]
        part.transaction.max_bytes = self._branches.max_octets - self.octets + part.transaction.octets
        self._publisher.transaction, self._deliveries.branch = part.transaction, part

    def close(self) -> None:
        """The channel has ended: so have its branches, but for those that are being prepared or committed."""
        self._work_for(None)
        self._branches.sessions.discard(self)
        for branch in [each for each in self.parts if not each.is_busy]:
            branch.roll_back(is_lost=True)
            branch.has_failed = True
            del branch.parts[self]
            branch.working.discard(self)
            if not branch.parts:
                self._branches.drop(branch)
        self.parts.clear()
