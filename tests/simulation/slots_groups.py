"""Message groups in a simulated cluster: which node gives a queue out, and what its clients must not see (ADR 83, 84).

Who subscribes is known to all nodes at once: how changes of topology travel is simulated elsewhere.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import TYPE_CHECKING, Final

from broker.codec.field_table import FieldTable
from broker.codec.message_group import NO_GROUP, group_of
from broker.codec.properties import BasicProperties, encode_header
from broker.message import Message, lane_of, tail
from broker.ports.cluster_rows import Incarnation
from broker.queue.due_reader import DueReader
from broker.queue.group_reader import GroupReader
from broker.queue.grouped_queue import GroupedQueue
from broker.queue.queue import Queue
from tests.simulation.slots_history import History, Violation
from tests.support.composition import NoServices
from tests.support.memory_slots import MemoryCluster

if TYPE_CHECKING:
    from tests.simulation.slots_node import Member

NAMES: Final = ("a", "b", "c", "d", None)
"""The groups that messages are in; None for none."""


def header_of(group: str | None, size: int) -> bytes:
    """Return the content header of a message in a group, as a tail."""
    properties = BasicProperties() if group is None else BasicProperties(headers=FieldTable.of({"x-group-id": group}))
    return tail(encode_header(size, properties))


def draw_header(random: Random, size: int) -> bytes:
    return header_of(random.choice(NAMES), size)


class GroupServices(NoServices):
    """What a queue with groups asks of its node: that the next groups are read, and what is due in slots."""

    def __init__(self, groups: GroupReader, due: DueReader, now_ms: Callable[[], int]) -> None:
        self._groups = groups
        self._due = due
        self._now_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms()

    def read_due(self, queue: Queue) -> None:
        self._due.start(queue)

    def read_groups(self, queue: Queue) -> None:
        assert isinstance(queue, GroupedQueue)
        self._groups.start(queue)


class Givers:
    """Which node gives out the messages of each queue: the first that subscribed, until it holds nothing of it."""

    def __init__(self, members: Callable[[], Iterable[Member]], living: Callable[[], Sequence[Incarnation]]) -> None:
        self._members = members
        self._living = living
        self._subscribed: defaultdict[int, list[Incarnation]] = defaultdict(list)

    def of(self, queue_id: int) -> Incarnation | None:
        """Return the node that gives out a queue: while nobody subscribes, the living one with the first name."""
        living = self._living()
        return next(iter([each for each in self._subscribed[queue_id] if each in living] or living), None)

    def subscribe(self, queue_id: int, incarnation: Incarnation) -> None:
        if incarnation not in self._subscribed[queue_id]:
            self._subscribed[queue_id].append(incarnation)
        self.look()

    def look(self) -> None:
        """Forget subscriptions that are over, and tell all nodes who gives out what."""
        living = self._living()
        members = {member.incarnation: member for member in self._members()}
        for queue_id, subscribed in self._subscribed.items():
            subscribed[:] = [
                each for each in subscribed if each in living and not _has_left(members.get(each), queue_id)
            ]
        for member in members.values():
            for queue in member.queues.values():
                first = next(iter(self._subscribed[queue.queue_id]), member.incarnation)
                if queue.turns.set_active(first == member.incarnation):
                    member.dispatch(queue)


def _has_left(member: Member | None, queue_id: int) -> bool:
    """Has this node no consumers of a queue, and do its clients hold nothing of it?"""
    return member is not None and not (member.is_consuming(queue_id) or member.queues[queue_id].unacked_count)


class GroupHistory:
    """What clients hold of each group, against the promises: not more than may be out, and the oldest first."""

    def __init__(self, concurrency: int, history: History, cluster: MemoryCluster) -> None:
        self.most = 0
        """How many groups of one queue had something out at once."""
        self._concurrency = concurrency
        self._history = history
        self._living = cluster.living
        self._rows = lambda: cluster.state.rows
        self._held: defaultdict[int, dict[int, tuple[Incarnation, int]]] = defaultdict(dict)

    def deliver(self, member: Member, queue: Queue, message: Message) -> None:
        """A client gets a message."""
        living = self._living()
        held = self._held[queue.queue_id]
        for each in [each for each, (holder, _) in held.items() if holder not in living]:
            del held[each]
        group = group_of(message.header)
        out = [each for each, (_, number) in held.items() if number == group and each != message.id]
        if group != NO_GROUP and len(out) >= self._concurrency:
            raise Violation(f"I35: {message.id} of group {group} is delivered while {out} are out")
        waiting = self._waiting(queue, message, group)
        older = [each for each in waiting if each not in held and each not in self._history.settled]
        if older:
            raise Violation(f"I36: {member.incarnation} delivers {message.id} of group {group} before {older}")
        held[message.id] = member.incarnation, group
        self.most = max(self.most, len({number for _, number in held.values()}))

    def _waiting(self, queue: Queue, message: Message, group: int) -> list[int]:
        """Return the older messages of the same group and lane that this node has, in memory or in slots."""
        lane, slots = lane_of(message.id), queue.slots.paged
        in_memory = [each.id for each in queue.in_memory if group_of(each.header) == group]
        in_slots = [
            each
            for each, row in self._rows().items()
            if row.group == group
            and row.storage_id == queue.queue_id
            and any(slot.lane == lane and slot.start <= each <= slot.end for slot in slots)
        ]
        return [each for each in {*in_memory, *in_slots} if each < message.id and lane_of(each) == lane]

    def release(self, queue: Queue, messages: Iterable[Message]) -> None:
        """A client has settled messages, or given them back."""
        for message in messages:
            self._held[queue.queue_id].pop(message.id, None)
