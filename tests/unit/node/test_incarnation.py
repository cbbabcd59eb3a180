from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from broker.broker import Limits
from broker.codec.methods import ConnectionClose, QueueDeclare, TxSelect
from broker.config.configuration import Configuration
from broker.config.loading import load
from broker.message import MESSAGE_OVERHEAD
from broker.node.settings import client_limits
from broker.queue.settings import QueueLimits, QueueType
from broker.store.journal_limits import JournalLimits
from broker.store.memory.store import MemoryStore
from tests.support.harness import Harness
from tests.support.node_in_process import NodeInProcess


@pytest.mark.parametrize(
    ("elements", "limit"),
    [
        ("<maxBatchSizeInKB>2</maxBatchSizeInKB>", 2048),
        ("<maxBatchSizeInBytes>1000</maxBatchSizeInBytes>", 1000),
        ("<maxBatchSizeInKB>2</maxBatchSizeInKB><maxBatchSizeInBytes>1000</maxBatchSizeInBytes>", 2048),
        ("<maxBatchSizeInBytes>1000</maxBatchSizeInBytes><maxBatchSizeInKB>2</maxBatchSizeInKB>", 2048),
    ],
)
def test_a_transaction_is_refused_at_the_size_that_broker_xml_names(tmp_path: Path, elements: str, limit: int) -> None:
    (tmp_path / "broker.xml").write_text(f"<broker><transaction>{elements}</transaction></broker>")
    peer = Harness(limits=client_limits(load(tmp_path, {}).config)).peer()
    peer.send(1, QueueDeclare(queue="q"))
    peer.send(1, TxSelect())
    peer.received()
    peer.publish("q", b"x" * (limit - MESSAGE_OVERHEAD - 100))
    assert peer.received() == []
    peer.publish("q", b"x" * 101)
    assert peer.received() == [
        (0, ConnectionClose(506, f"RESOURCE_ERROR - transaction larger than {limit} octets", 60, 40))
    ]


def test_a_client_may_do_by_default_what_the_configuration_says() -> None:
    assert client_limits(Configuration()) == Limits()


async def test_broker_xml_sets_the_default_type_of_queues_of_each_virtual_host(tmp_path: Path) -> None:
    (tmp_path / "broker.xml").write_text(
        """<broker><virtualHosts defaultQueueType="quorum">
        <virtualHost name="carbon" defaultQueueType="classic"/><virtualHost name="orders"/>
        </virtualHosts></broker>"""
    )
    config = load(tmp_path, {}).config
    node = NodeInProcess(
        MemoryStore(), queue_limits=QueueLimits(), journal_limits=JournalLimits(), clock=count(), config=config
    )
    await node.open()
    with capture_logs() as logs:
        await node.start()
    types = {name: vhost.default_queue_type for name, vhost in node.broker.vhosts.items()}
    await node.crash()
    assert types == {"/": QueueType.QUORUM, "carbon": QueueType.CLASSIC}
    assert [line["vhost"] for line in logs if line["log_level"] == "warning"] == ["orders"]
