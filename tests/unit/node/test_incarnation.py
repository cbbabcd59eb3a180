from __future__ import annotations

from pathlib import Path

import pytest

from broker.broker import Limits
from broker.codec.methods import ConnectionClose, QueueDeclare, TxSelect
from broker.config import load
from broker.config.configuration import Configuration
from broker.message import MESSAGE_OVERHEAD
from broker.node.incarnation import client_limits
from tests.support.harness import Harness


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
