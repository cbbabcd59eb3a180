"""Prepared branches of distributed transactions: kept with what they take away, resolved once, by any node."""

from __future__ import annotations

import pytest

from broker.errors import BranchConflict
from broker.ports.branches import BranchKey, PreparedBranch, Xid
from broker.ports.records import Drop, Put, VirtualHostRecord
from broker.ports.store import Batch
from tests.contract.harness import Harness, message
from tests.contract.nodes import Nodes

FIRST = BranchKey("carbon", Xid(4660, b"global\x00\xff", b"branch 1"))
SECOND = BranchKey("carbon", Xid(4660, b"global\x00\xff", b"branch 2"))
ELSEWHERE = BranchKey("/", FIRST.xid)
CONTENT = bytes(range(256)) * 600
"""More than one piece."""


def prepared(key: BranchKey = FIRST, content: bytes = CONTENT) -> PreparedBranch:
    return PreparedBranch(key, content)


async def test_a_prepared_branch_survives_a_crash_without_what_it_has_taken(harness: Harness) -> None:
    taken, left = message(1), message(2)
    await harness.insert(taken, left)
    await harness.store.write(Batch(deletes=[taken], prepared=[prepared()]))
    await harness.crash()
    assert await harness.ids() == [2]
    assert await harness.store.prepared_xids("carbon", 10) == [FIRST.xid]
    found = await harness.store.read_branch(FIRST)
    assert found is not None
    assert (found.key, found.content) == (FIRST, CONTENT)


async def test_a_branch_without_content_is_there(harness: Harness) -> None:
    await harness.store.write(Batch(prepared=[prepared(content=b"")]))
    assert await harness.store.read_branch(FIRST) == prepared(content=b"")


async def test_a_branch_is_one_of_its_virtual_host_and_xid(harness: Harness) -> None:
    await harness.store.write(Batch(prepared=[prepared(FIRST), prepared(SECOND, b"2"), prepared(ELSEWHERE, b"3")]))
    assert set(await harness.store.prepared_xids("carbon", 10)) == {FIRST.xid, SECOND.xid}
    assert await harness.store.prepared_xids("/", 10) == [FIRST.xid]
    assert len(await harness.store.prepared_xids("carbon", 1)) == 1
    assert await harness.store.read_branch(SECOND) == prepared(SECOND, b"2")
    assert await harness.store.read_branch(BranchKey("/", SECOND.xid)) is None


async def test_what_resolves_a_branch_is_written_with_it(harness: Harness) -> None:
    await harness.store.write(Batch(prepared=[prepared(), prepared(SECOND)]))
    await harness.store.write(Batch(inserts=[message(3)], resolved=[FIRST], high_water=3))
    await harness.crash()
    assert await harness.ids() == [3]
    assert await harness.store.prepared_xids("carbon", 10) == [SECOND.xid]
    assert await harness.store.read_branch(FIRST) is None


@pytest.mark.parametrize("wrong", [Batch(prepared=[prepared(FIRST)]), Batch(resolved=[SECOND])])
async def test_nothing_is_written_beside_a_branch_that_is_not_as_expected(harness: Harness, wrong: Batch) -> None:
    kept = message(1)
    await harness.insert(kept)
    await harness.store.write(Batch(prepared=[prepared()]))
    batch = Batch([message(2)], [kept], prepared=[*wrong.prepared], resolved=[*wrong.resolved], high_water=2)
    with pytest.raises(BranchConflict) as raised:
        await harness.store.write(batch)
    assert raised.value.digest == (*(branch.key for branch in wrong.prepared), *wrong.resolved)[0].digest
    assert await harness.ids() == [1]
    assert await harness.store.prepared_xids("carbon", 10) == [FIRST.xid]
    await harness.store.write(Batch([message(4)], high_water=4))  # the store goes on
    assert await harness.ids() == [1, 4]


async def test_branches_go_with_their_virtual_host(harness: Harness) -> None:
    await harness.store.record([Put(VirtualHostRecord("carbon")), Put(VirtualHostRecord("/"))])
    await harness.store.write(Batch(prepared=[prepared(), prepared(SECOND, b""), prepared(ELSEWHERE)]))
    await harness.store.record([Drop(VirtualHostRecord("carbon"))])
    assert await harness.store.prepared_xids("carbon", 10) == []
    assert (await harness.store.read_branch(FIRST), await harness.store.read_branch(ELSEWHERE)) == (
        None,
        prepared(ELSEWHERE),
    )


async def test_a_branch_of_another_node_is_resolved_once(nodes: Nodes) -> None:
    if nodes.is_single:
        pytest.skip("one node has the store for itself")
    a, b = await nodes.join("a"), await nodes.join("b")
    await a.store.write(Batch(prepared=[prepared()]))
    assert await b.store.read_branch(FIRST) == prepared()
    await b.store.write(Batch(resolved=[FIRST]))
    with pytest.raises(BranchConflict):
        await a.store.write(Batch(resolved=[FIRST]))
    await a.store.write(Batch(prepared=[prepared(SECOND)]))
    with pytest.raises(BranchConflict):
        await b.store.write(Batch(prepared=[prepared(SECOND)]))
