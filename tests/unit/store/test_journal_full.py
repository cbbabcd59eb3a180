"""A store without room: inserts wait, what is settled is deleted meanwhile (ADR 13)."""

from __future__ import annotations

import pytest

from broker.errors import StoreFull
from broker.message import STORED, WRITING
from broker.ports.slot import Slot
from broker.store.journal_limits import JournalLimits
from tests.unit.store.journal_bench import QUEUE, bench, message, turn, under_way


def slot(start: int, end: int) -> Slot:
    return Slot(QUEUE.queue_id, 0, start, end, 0)


async def test_a_store_without_room_still_deletes_what_is_settled() -> None:
    async with bench() as it:
        first, settled, later = message(1), message(11, state=STORED), message(12, state=STORED)
        it.journal.append(first)
        it.journal.settle(settled)
        writing = await it.store.begun()
        it.journal.settle(later)
        writing.set_exception(StoreFull("full"))
        await it.store.let_through()
        await it.store.let_through()
        assert (it.store.inserts, it.store.deletes) == ([[1], [], [], [1]], [[11], [11], [12], []])
        assert (first.state, it.journal.counters.deleted, it.journal.counters.commits) == (WRITING, 2, 2)
        await it.store.let_through()
        assert (first.state, it.journal.counters.inserted, it.journal.counters.commits) == (STORED, 1, 3)
        assert it.journal.is_idle


async def test_what_a_full_store_could_not_delete_either_is_tried_again_with_the_inserts() -> None:
    async with bench() as it:
        it.journal.append(message(1))
        it.journal.settle(message(11, state=STORED))
        await it.store.fail(StoreFull("full"))
        await it.store.fail(StoreFull("full"))
        await it.store.let_through()
        assert (it.store.inserts, it.store.deletes) == ([[1], [], [1]], [[11], [11], [11]])
        assert (it.journal.counters.deleted, it.journal.is_idle) == (1, True)


async def test_a_full_store_that_refuses_what_is_settled_is_asked_for_nothing_else_meanwhile() -> None:
    async with bench() as it:
        it.journal.append(message(1))
        it.journal.settle(message(11, state=STORED))
        under_way(it.journal.transact([], [message(12, state=STORED)]))
        await it.store.fail(StoreFull("full"))
        await it.store.fail(StoreFull("full"))
        await it.store.let_through()
        assert it.store.deletes == [[11, 12], [11], [11, 12]]


async def test_a_transaction_waits_for_room_as_a_whole() -> None:
    async with bench() as it:
        it.journal.settle(message(11, state=STORED))
        done = under_way(it.journal.transact([message(1)], [message(12, state=STORED)]))
        await it.store.fail(StoreFull("full"))
        await it.store.let_through()
        assert (it.store.inserts, it.store.deletes) == ([[1], [], [1]], [[11, 12], [11], [12]])
        assert not done.done()
        await it.store.let_through()
        assert done.done()
        assert it.journal.counters.deleted == 2


async def test_settled_messages_need_no_second_try_once_they_are_deleted_alone() -> None:
    async with bench() as it:
        it.journal.settle(message(11, state=STORED))
        await it.store.fail(StoreFull("full"))
        await it.store.let_through()
        assert (it.store.deletes, it.slept, it.journal.is_failing) == ([[11], [11]], [], False)
        assert (it.journal.counters.deleted, it.journal.counters.commits, it.journal.is_idle) == (1, 1, True)


async def test_a_slot_of_which_nothing_waits_can_be_read_from_a_full_store() -> None:
    async with bench() as it:
        it.journal.append(message(11))
        before = under_way(it.journal.readable(slot(1, 10)))
        writing = await it.store.begun()
        during = under_way(it.journal.readable(slot(1, 10)))
        writing.set_exception(StoreFull("full"))
        await turn()
        after = under_way(it.journal.readable(slot(1, 10)))
        await turn()
        assert [waiting.done() for waiting in (before, during, after)] == [True, True, True]


@pytest.mark.parametrize("first_or_last", [1, 10])
async def test_a_slot_with_a_message_that_waits_is_read_when_that_is_written(first_or_last: int) -> None:
    async with bench() as it:
        it.journal.append(message(first_or_last))
        await it.store.fail(StoreFull("full"))
        inserted = under_way(it.journal.readable(slot(1, 10)))
        it.journal.settle(message(22, state=STORED))
        deleted = under_way(it.journal.readable(slot(21, 30)))
        await turn()
        assert (inserted.done(), deleted.done()) == (False, False)
        await it.store.let_through()
        await it.store.let_through()
        await it.journal.flushed()
        assert (inserted.done(), deleted.done()) == (True, True)


async def test_a_slot_is_read_from_a_full_store_before_deliveries_are_counted_in_it() -> None:
    async with bench() as it:
        it.journal.append(message(99))
        it.journal.recount(message(5, state=STORED))
        await it.store.fail(StoreFull("full"))
        read = under_way(it.journal.readable(slot(1, 10)))
        await turn()
        assert read.done()
        await it.store.let_through()
        assert it.store.recounts == [[5], [5]]


async def test_a_store_that_has_room_writes_everything_before_a_slot_is_read() -> None:
    async with bench() as it:
        it.journal.append(message(11))
        reading = under_way(it.journal.readable(slot(1, 10)))
        writing = await it.store.begun()
        assert not reading.done()
        writing.set_result(None)
        await it.journal.flushed()
        assert reading.done()


async def test_acknowledgements_in_a_transaction_make_room_too() -> None:
    async with bench() as it:
        it.journal.append(message(1))
        acked = under_way(it.journal.transact([], [message(11, state=STORED), message(12, state=STORED)]))
        await it.store.fail(StoreFull("full"))
        await it.store.let_through()
        assert acked.done()
        assert (it.store.inserts, it.store.deletes) == ([[1], [], [1]], [[11, 12], [11, 12], []])


async def test_a_transaction_that_settles_what_is_not_written_yet_waits_with_it() -> None:
    async with bench() as it:
        unwritten = message(1)
        it.journal.append(unwritten)
        acked = under_way(it.journal.transact([], [unwritten, message(11, state=STORED)]))
        await it.store.fail(StoreFull("full"))
        assert (it.store.inserts, it.store.deletes, acked.done()) == ([[1], [1]], [[1, 11], [1, 11]], False)


async def test_one_transaction_that_waits_keeps_no_other_from_making_room() -> None:
    async with bench() as it:
        unwritten = message(1)
        it.journal.append(unwritten)
        waiting = under_way(it.journal.transact([], [unwritten]))
        acked = under_way(it.journal.transact([], [message(11, state=STORED)]))
        await it.store.fail(StoreFull("full"))
        await it.store.let_through()
        assert (it.store.deletes, waiting.done(), acked.done()) == ([[1, 11], [11], [1]], False, True)


async def test_a_purge_makes_room_and_is_done_again_behind_the_inserts_before_it() -> None:
    async with bench() as it:
        it.journal.append(message(1))
        purged = under_way(it.journal.purge([slot(1, 10)]))
        await it.store.fail(StoreFull("full"))
        await it.store.let_through()
        assert not purged.done()
        await it.store.let_through()
        assert purged.done()
        assert [(len(batch.inserts), len(batch.purges)) for batch in it.store.batches] == [(1, 1), (0, 1), (1, 1)]


async def test_a_full_store_is_given_few_deletes_at_a_time() -> None:
    async with bench(JournalLimits(batch_deletes_when_full=2)) as it:
        for number in range(11, 16):
            it.journal.settle(message(number, state=STORED))
        await it.store.fail(StoreFull("full"))
        for _ in range(3):
            await it.store.let_through()
        assert it.store.deletes == [[11, 12, 13, 14, 15], [11, 12], [13, 14], [15]]
        assert it.journal.is_idle


async def test_a_full_store_is_tried_again_every_second() -> None:
    async with bench() as it:
        it.journal.append(message(1))
        for _ in range(3):
            await it.store.fail(StoreFull("full"))
        assert (it.slept, it.journal.is_failing) == ([1.0, 1.0, 1.0], True)
        await it.store.let_through()
        assert not it.journal.is_failing


async def test_publishers_are_held_back_while_the_store_is_full() -> None:
    async with bench(JournalLimits(batch_messages=1, pending_messages=2)) as it:
        for number in range(1, 5):
            it.journal.append(message(number))
        await it.store.fail(StoreFull("full"))
        assert (it.full, it.journal.check_full()) == ([True], True)
        for _ in range(4):
            await it.store.let_through()
        assert it.full == [True, False]
