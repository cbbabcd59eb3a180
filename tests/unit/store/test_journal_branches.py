"""Group commit of what prepares and resolves branches: one that is not as expected concerns nobody else."""

from __future__ import annotations

import pytest

from broker.errors import BranchConflict, StoreFull
from broker.message import STORED
from broker.ports.branches import BranchKey, PreparedBranch, Xid
from tests.unit.store.journal_bench import bench, message, turn, under_way

KEY = BranchKey("carbon", Xid(1, b"g", b"b"))
OTHER = BranchKey("carbon", Xid(1, b"g", b"c"))


async def test_of_two_that_resolve_a_branch_the_later_one_is_left_out_of_the_batch() -> None:
    async with bench() as it:
        it.journal.append(message(1))
        first = under_way(it.journal.transact([message(2)], [message(5, state=STORED)], resolved=[KEY]))
        second = under_way(it.journal.transact([message(3)], [message(6, state=STORED)], resolved=[KEY]))
        third = under_way(it.journal.transact([message(4)], [], resolved=[OTHER]))
        await it.store.fail(BranchConflict(KEY.digest))
        await it.store.let_through()
        with pytest.raises(BranchConflict):
            await second
        await first
        await third
        assert (it.store.inserts[-1], it.store.deletes[-1]) == ([1, 2, 4], [5])
        assert it.slept == []


async def test_a_conflict_about_a_branch_of_nobody_ends_the_journal() -> None:
    async with bench() as it:
        waiting = under_way(it.journal.transact([message(2)], [], resolved=[OTHER]))
        await it.store.fail(BranchConflict(KEY.digest))
        await turn()
        assert not waiting.done()
        waiting.cancel()


async def test_what_a_branch_takes_is_not_deleted_ahead_of_it_when_the_store_is_full() -> None:
    async with bench() as it:
        taken = message(5, state=STORED)
        waiting = under_way(it.journal.transact([], [taken], prepared=[PreparedBranch(KEY, b"")]))
        await it.store.fail(StoreFull("no room"))
        await it.store.let_through()
        await waiting
        assert it.store.deletes == [[5], [5]]
        assert [batch.prepared for batch in it.store.batches] == [[PreparedBranch(KEY, b"")]] * 2
