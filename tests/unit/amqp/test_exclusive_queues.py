"""Contract Q6."""

from __future__ import annotations

from broker.amqp.exclusive_queues import ExclusiveQueues
from broker.codec.field_table import EMPTY_TABLE
from broker.queue.queue import Queue
from broker.topology.declaration import QueueDeclaration
from tests.support.harness import Harness
from tests.support.stage import drive


def declared(harness: Harness, owner: ExclusiveQueues, name: str) -> Queue:
    return drive(harness.vhost.declare_queue(QueueDeclaration(name, False, False, EMPTY_TABLE, owner)))


def test_all_are_deleted_when_the_connection_ends(harness: Harness) -> None:
    exclusive = ExclusiveQueues(harness.vhost)
    for name in ("a", "b"):
        drive(exclusive.add(declared(harness, exclusive, name)))
    drive(exclusive.delete_all())
    assert list(harness.vhost.queues) == []
    assert len(exclusive) == 0


def test_one_that_is_declared_too_late_is_deleted_at_once(harness: Harness) -> None:
    exclusive = ExclusiveQueues(harness.vhost)
    drive(exclusive.delete_all())
    drive(exclusive.add(declared(harness, exclusive, "late")))
    assert list(harness.vhost.queues) == []


def test_those_that_are_gone_are_not_kept(harness: Harness) -> None:
    exclusive = ExclusiveQueues(harness.vhost)
    for _ in range(100):
        drive(exclusive.add(declared(harness, exclusive, "mine")))
        drive(harness.vhost.delete_queue("mine", exclusive))
    assert len(exclusive) < 20
