"""Which group's turn it is in a queue with message groups (ADR 83).

Groups take turns, one message each. No more than `concurrency` messages of a group are with clients at once, the oldest
ones, so with one its order holds whatever becomes of a message: the next one goes out when it is settled, or again when
it comes back. Messages without a group are one group, of which any number may be out.

The messages stay in their places in memory (`ReadyMessages.take_out`); here are the ways to them, by group.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from broker.codec.message_group import NO_GROUP, group_of
from broker.message import TRANSIENT, Message
from broker.queue.dispatcher import Dispatching
from broker.queue.ready_messages import ReadyMessages, id_of_message, insert_in_order

_RUN: Final = 64
"""Messages that are offered at once to consumers, who may take fewer."""
_NEVER: Final = -1


class _Group:
    """What of one group is in memory, and how many of its messages are out."""

    __slots__ = ("candidates", "flying", "is_waiting", "limit", "number")

    def __init__(self, number: int, limit: int) -> None:
        self.number = number
        self.limit = limit
        self.candidates: deque[Message] = deque()
        """Those in memory, ascending by id."""
        self.flying = 0
        self.is_waiting = False
        """Is it in the round of those that wait for their turn?"""

    @property
    def may_take_turn(self) -> bool:
        return bool(self.candidates) and (not self.limit or self.flying < self.limit)


class GroupTurns:
    """The groups of one queue on this node, whose messages its consumers get in turn."""

    __slots__ = (
        "_changes",
        "_groups",
        "_listed",
        "_pass_size",
        "_round",
        "_served",
        "_turns",
        "concurrency",
        "flying",
        "has_drained",
    )

    def __init__(self, turns: Dispatching, concurrency: int) -> None:
        """`turns` has the consumers."""
        self._turns = turns
        self.concurrency = concurrency
        self._groups: dict[int, _Group] = {}
        self._round: deque[_Group] = deque()  # those whose turn may come, the next one first
        self.flying: dict[int, _Group] = {}
        """The groups of the messages that are out, or wait to be delivered again, by id."""
        self.has_drained = False
        """Has a group lost its last message in memory, so that it may have others in slots?"""
        self._listed = 0  # the last id in `ready` that is a candidate
        self._changes = _NEVER  # of the window when the candidates were found
        self._served = 0
        self._pass_size = 0

    def set_concurrency(self, concurrency: int) -> None:
        """So many messages of each group may be out from now on."""
        if concurrency != self.concurrency:
            self.concurrency = concurrency
            for group in self._groups.values():
                group.limit = 0 if group.number == NO_GROUP else concurrency
            self.forget_places()

    # Whose turn it is

    @property
    def is_waiting(self) -> bool:
        """Is it the turn of some group whose message is in memory?"""
        return bool(self._round)

    @property
    def is_pass_over(self) -> bool:
        """Have there been as many turns since `begin_pass` as groups were in memory then, and one at least?"""
        return self._served >= max(self._pass_size, 1)

    def begin_pass(self, least: int = 0) -> None:
        """Count turns from now on: the pass has as many as there are groups in memory, `least` at least."""
        self._served, self._pass_size = 0, max(len(self._groups), least)

    def wants(self, number: int) -> bool:
        """Would a message of this group, of which none is in memory, be given out?"""
        group = self._groups.get(number)
        return group is None or not (group.candidates or (group.limit and group.flying >= group.limit))

    def serve(self, window: ReadyMessages) -> None:
        """Give what is in memory to consumers that have credit, one message of each group in turn. Hot."""
        self.look(window)
        turns = self._turns
        while self._round and turns.has_credit():
            run = self._run(turns.room(_RUN))
            if not run:
                break
            offered = tuple(run)
            turns.share_out(run)
            taken = offered[: len(offered) - len(run)]
            self._give_back(run)
            self._served += len(taken)
            if not taken:
                break
            window.take_out(taken)

    def take_next(self, window: ReadyMessages) -> Message | None:
        """Remove and return the message whose turn it is, for basic.get; None when there is none in memory."""
        self.look(window)
        run = self._run(1) if self._turns.is_active else ()
        for message in run:
            self._served += 1
            window.take_out((message,))
            return message
        return None

    def _run(self, limit: int) -> deque[Message]:
        """Return the next messages in turn: they are out."""
        run: deque[Message] = deque()
        waiting = self._round
        while waiting and len(run) < limit:
            group = waiting.popleft()
            message = group.candidates.popleft()
            run.append(message)
            if message.state != TRANSIENT:  # of such a one nobody would tell when it is settled
                self.flying[message.id] = group
                group.flying += 1
            if group.may_take_turn:
                waiting.append(group)
            else:
                group.is_waiting = False
                self.has_drained |= not group.candidates
        return run

    def _give_back(self, run: deque[Message]) -> None:
        """Nobody has taken these: it is still their turn."""
        for message in reversed(run):
            group = self.flying.pop(message.id, None)
            if group is None:
                group = self._group(group_of(message.header))
            else:
                group.flying -= 1
            group.candidates.appendleft(message)
            if not group.is_waiting:
                group.is_waiting = True
                self._round.appendleft(group)

    def release(self, messages: Iterable[Message]) -> None:
        """These messages are with no client any more, if they were."""
        for message in messages:
            group = self.flying.pop(message.id, None)
            if group is not None:
                group.flying -= 1
                self._see_to(group)

    def _see_to(self, group: _Group) -> None:
        if group.may_take_turn:
            if not group.is_waiting:
                group.is_waiting = True
                self._round.append(group)
        elif not group.candidates:
            self.has_drained = True
            if not group.flying and self._groups.get(group.number) is group:
                del self._groups[group.number]

    # What is in memory

    def forget_places(self) -> None:
        """Messages have left their places by themselves: look at all that is there before the next turn."""
        self._changes = _NEVER

    def look(self, window: ReadyMessages) -> None:
        """Find out what has come to `ready`, or, if more has changed there than that, what is there."""
        if window.changes != self._changes:
            self._begin_anew(window)
            return
        came: list[Message] = []
        for message in reversed(window.ready):
            if message.id <= self._listed:
                break
            came.append(message)
        if came:
            self._listed = came[0].id
            self._add(reversed(came))

    def bring_back(self, window: ReadyMessages, messages: Sequence[Message]) -> None:
        """Put messages back at their places that nobody has any more."""
        is_known = window.changes == self._changes
        if is_known:
            self.look(window)  # what has come meanwhile is younger than all that was ever out
        others = [message for message in messages if not window.revive(message)]
        if others:
            window.put_back(others)
        self.release(messages)
        if is_known:
            self._changes = window.changes
            self._listed = max(self._listed, *map(id_of_message, messages), 0)  # or they would be found once more
            self._add(messages)

    def note_read(self, window: ReadyMessages, messages: Sequence[Message], changes: int) -> None:
        """These messages have come to `ready` from slots, behind others; the window had changed so often before."""
        if self._changes == changes:
            self._changes = window.changes
            self._listed = max(self._listed, *map(id_of_message, messages), 0)
            self._add(messages)

    def _add(self, messages: Iterable[Message]) -> None:
        for message in messages:
            group = self._group(group_of(message.header))
            insert_in_order(group.candidates, message)
            if not group.is_waiting and group.may_take_turn:
                group.is_waiting = True
                self._round.append(group)

    def _group(self, number: int) -> _Group:
        group = self._groups.get(number)
        if group is None:
            limit = 0 if number == NO_GROUP else self.concurrency
            group = self._groups[number] = _Group(number, limit)
        return group

    def _begin_anew(self, window: ReadyMessages) -> None:
        """Look at everything; those that waited keep their turns."""
        window.put_in_order()
        self._changes, before = window.changes, self._round
        for group in self._groups.values():
            group.candidates = deque()
            group.is_waiting = False
        for message in window.ready:
            insert_in_order(self._group(group_of(message.header)).candidates, message)
        self._listed = max(map(id_of_message, window.ready), default=0)
        self._round = deque()
        for group in (*before, *self._groups.values()):
            if not group.is_waiting and group.may_take_turn:
                group.is_waiting = True
                self._round.append(group)
        self.has_drained = True
        idle = [number for number, group in self._groups.items() if not (group.candidates or group.flying)]
        for number in idle:
            del self._groups[number]
