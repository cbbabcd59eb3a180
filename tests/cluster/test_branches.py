"""Branches of distributed transactions in a cluster: any node resolves what another one has prepared."""

from __future__ import annotations

import pytest

from broker.codec.methods import (
    DtxCommit,
    DtxCommitOk,
    DtxPrepare,
    DtxPrepareOk,
    DtxRecover,
    DtxRecoverOk,
    DtxRollback,
    DtxRollbackOk,
)
from tests.support.cluster import ClusterOfProcesses
from tests.support.dtx_client import DtxClient


@pytest.mark.parametrize("is_commit", [True, False])
def test_another_node_resolves_what_one_has_prepared(pair: ClusterOfProcesses, name: str, is_commit: bool) -> None:
    first, second = pair.nodes
    xid = (9, name.encode(), b"branch")
    source, target = f"{name}.in", f"{name}.out"
    with DtxClient(first.host, first.port) as client, DtxClient(second.host, second.port) as other:
        for queue in (source, target):
            client.declare(queue)
        client.publish(source, b"in")
        client.work(xid, source, target, b"out")
        assert client.call(DtxPrepare(*xid), DtxPrepareOk).status == 0
        assert name.encode() in other.call(DtxRecover(), DtxRecoverOk).xids
        if is_commit:
            assert other.call(DtxCommit(*xid), DtxCommitOk).status == 0
        else:
            assert other.call(DtxRollback(*xid), DtxRollbackOk).status == 0
        assert name.encode() not in client.call(DtxRecover(), DtxRecoverOk).xids
        assert other.take(target if is_commit else source) == ((b"out", False) if is_commit else (b"in", True))
