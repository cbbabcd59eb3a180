"""kill -9 with branches of distributed transactions: what is prepared is there, what is not is as if it never was."""

from __future__ import annotations

import pytest

from benchmarks.nodes.process import BrokerProcess
from broker.amqp.java_xids import serialized
from broker.codec.methods import (
    DtxCommit,
    DtxCommitOk,
    DtxEnd,
    DtxEndOk,
    DtxPrepare,
    DtxPrepareOk,
    DtxRecover,
    DtxRecoverOk,
    DtxRollback,
    DtxRollbackOk,
    DtxStart,
    DtxStartOk,
)
from broker.ports.branches import Xid
from tests.integration.engines import broker
from tests.support.dtx_client import DtxClient

__all__ = ["broker"]

A, B, C = ((7, b"global", branch) for branch in (b"a", b"b", b"c"))


@pytest.mark.parametrize("broker", ["sqlite", pytest.param("mariadb", marks=pytest.mark.slow)], indirect=True)
def test_a_prepared_branch_outlives_a_kill_until_it_is_resolved(broker: BrokerProcess) -> None:
    with DtxClient(broker.host, broker.port) as client:
        for queue in ("in", "out"):
            client.declare(queue)
        for body in (b"a", b"b", b"c", b"left"):
            client.publish("in", body)
        for xid, body in ((A, b"from a"), (B, b"from b"), (C, b"from c")):
            client.work(xid, "in", "out", body)
        for xid in (A, B):
            assert client.call(DtxPrepare(*xid), DtxPrepareOk).status == 0
        broker.kill9()
    broker.start()
    with DtxClient(broker.host, broker.port) as client:
        assert (client.declare("in"), client.declare("out")) == (2, 0)
        listed = client.call(DtxRecover(), DtxRecoverOk).xids
        assert listed in (serialized([Xid(*A), Xid(*B)]), serialized([Xid(*B), Xid(*A)]))
        assert client.call(DtxCommit(*A), DtxCommitOk).status == 0
        assert (client.declare("in"), client.declare("out")) == (2, 1)
        assert client.call(DtxRecover(), DtxRecoverOk).xids == serialized([Xid(*B)])
        assert client.call(DtxRollback(*B), DtxRollbackOk).status == 0
        assert client.call(DtxRecover(), DtxRecoverOk).xids == serialized([])
        assert client.take("out")[0] == b"from a"
        assert [client.take("in")[0] for _ in range(client.declare("in"))] == [b"c", b"left", b"b"]
        client.call(DtxStart(*A), DtxStartOk)  # the name is free again
        client.call(DtxEnd(*A), DtxEndOk)
