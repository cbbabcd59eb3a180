"""Queues with a lease (contract F3) that clients of one node use, and those of the other do not."""

from __future__ import annotations

from time import monotonic, sleep

import pika
import pytest

from tests.cluster.conftest import ChannelOf
from tests.support.cluster import ClusterOfProcesses


@pytest.mark.slow
def test_a_queue_that_is_used_on_one_node_is_not_deleted_by_another(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    here, there = channel_of(pair[0]), channel_of(pair[1])
    here.queue_declare(name, durable=True, arguments={"x-expires": 1000})
    began = monotonic()
    while monotonic() - began < 10:
        assert there.basic_get(name)[0] is None
        here.connection.process_data_events(0)
        sleep(0.3)
    here.queue_declare(name, passive=True)
    sleep(6)
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="no queue"):
        there.queue_declare(name, passive=True)
