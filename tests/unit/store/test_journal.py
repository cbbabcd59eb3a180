"""Group commit: what is written together, in which state messages are, and who is told (ADR 5)."""

from __future__ import annotations

import asyncio

import pytest

from broker.backoff import Backoff
from broker.errors import StoreError, StoreFull, StoreUnavailable
from broker.message import SETTLED, STORED, TRANSIENT, WRITING, WRITING_SETTLED
from broker.ports.slot import Slot
from broker.store.journal import HIGH_WATER_AHEAD, GroupCommitJournal, JournalLimits
from tests.unit.store.journal_bench import QUEUE, Gate, bench, message, turn, under_way


async def test_what_comes_while_a_batch_is_written_goes_into_the_next_one() -> None:
    async with bench() as it:
        it.journal.append(message(1))
        await turn()
        it.journal.append(message(2))
        it.journal.append(message(3))
        await it.store.let_through()
        await it.store.let_through()
        assert it.store.inserts == [[1], [2, 3]]


async def test_a_message_is_stored_when_its_batch_is_committed() -> None:
    async with bench() as it:
        first = message(1, confirms="channel 1")
        it.journal.append(first)
        writing = await it.store.begun()
        assert (first.state, it.touched) == (WRITING, set())
        writing.set_result(None)
        await turn()
        assert (first.state, it.touched, it.settled) == (STORED, {"channel 1"}, [None])


async def test_an_insert_that_meets_its_own_delete_is_never_written() -> None:
    async with bench() as it:
        first = message(1, confirms="channel 1")
        it.journal.append(first)
        it.journal.settle(first)
        await turn()
        assert (first.state, it.touched, it.store.batches) == (SETTLED, {"channel 1"}, [])
        assert it.journal.counters.cancelled == 1
        assert it.journal.is_idle


@pytest.mark.parametrize("size", [0, 10, 9000])
async def test_cancelled_inserts_leave_no_octets_behind(size: int) -> None:
    async with bench() as it:
        first = message(1, size)
        it.journal.append(first)
        it.journal.settle(first)
        assert it.journal.pending_bytes == 0


async def test_what_is_settled_lets_go_of_its_octets() -> None:
    """Those that are confirmed later, or deleted when the store is back, may be many."""
    async with bench() as it:
        cancelled, stored, written = message(1, 9000), message(2, 9000, state=STORED), message(3, 9000)
        it.journal.append(written)
        writing = await it.store.begun()
        it.journal.append(cancelled)
        for each in (cancelled, stored, written):
            it.journal.settle(each)
        assert [each.size for each in (cancelled, stored, written)] == [0, 0, 9000]
        writing.set_result(None)
        await it.store.let_through()
        assert (written.size, len(written.header), it.store.deletes) == (0, 0, [[], [2, 3]])


@pytest.mark.parametrize("size", [0, 10, 9000])
async def test_octets_that_wait_are_counted_exactly_when_batches_are_full(size: int) -> None:
    async with bench(JournalLimits(batch_messages=2)) as it:
        for number in range(1, 6):
            it.journal.append(message(number, size))
        await it.store.let_through()
        await it.store.let_through()
        await it.store.let_through()
        assert it.store.inserts == [[1, 2], [3, 4], [5]]
        assert it.journal.pending_bytes == 0


@pytest.mark.parametrize("others", [0, 3])
async def test_octets_that_are_spilled_are_counted_until_they_are_taken(others: int) -> None:
    async with bench(JournalLimits(batch_messages=1)) as it:
        for number in range(others):
            it.journal.append(message(number + 1))
        spilled = message(9, 1000, state=TRANSIENT)
        it.journal.spill(spilled)
        weight = message(1).weight
        assert it.journal.pending_bytes == others * weight + spilled.weight
        await it.store.begun()
        assert it.journal.pending_bytes == max(others - 1, 0) * weight


async def test_the_oldest_message_that_waits_is_known() -> None:
    async with bench() as it:
        assert it.journal.oldest_waiting is None
        first, second = message(1), message(2)
        it.journal.append(first)
        writing = await it.store.begun()
        it.journal.append(second)
        assert it.journal.oldest_waiting == 1
        writing.set_result(None)
        writing = await it.store.begun()
        assert it.journal.oldest_waiting == 2
        writing.set_result(None)
        await turn()
        assert it.journal.oldest_waiting is None


async def test_a_message_settled_while_it_is_written_is_deleted_after_that() -> None:
    async with bench() as it:
        first = message(1, confirms="channel 1")
        it.journal.append(first)
        writing = await it.store.begun()
        it.journal.settle(first)
        assert (first.state, it.touched) == (WRITING_SETTLED, {"channel 1"})
        writing.set_result(None)
        await it.store.let_through()
        assert (first.state, it.store.deletes) == (SETTLED, [[], [1]])


async def test_a_stored_message_is_deleted_once() -> None:
    async with bench() as it:
        first = message(1, state=STORED)
        it.journal.settle(first)
        it.journal.settle(first)
        await it.store.let_through()
        assert (first.state, it.store.deletes) == (SETTLED, [[1]])


async def test_a_batch_has_so_many_octets_at_most_but_always_a_message() -> None:
    async with bench(JournalLimits(batch_bytes=10_000)) as it:
        for number, size in enumerate((6000, 6000, 6000, 50_000, 1000), start=1):
            it.journal.append(message(number, size))
        for _ in range(3):
            await it.store.let_through()
        assert it.store.inserts == [[1, 2], [3, 4], [5]]


async def test_a_batch_has_so_many_deletes_at_most() -> None:
    async with bench(JournalLimits(batch_deletes=2)) as it:
        for number in range(1, 6):
            it.journal.settle(message(number, state=STORED))
        for _ in range(3):
            await it.store.let_through()
        assert it.store.deletes == [[1, 2], [3, 4], [5]]


async def test_deliveries_of_a_message_are_counted_once_in_a_batch() -> None:
    async with bench() as it:
        first, second = message(1, state=STORED), message(2, state=STORED)
        for each in (first, second, first):
            it.journal.recount(each)
        assert not it.journal.is_idle
        await it.store.let_through()
        assert (it.store.recounts, it.journal.is_idle) == ([[1, 2]], True)


async def test_deliveries_of_a_message_that_is_being_written_are_counted_after_that() -> None:
    async with bench() as it:
        first = message(1)
        it.journal.append(first)
        writing = await it.store.begun()
        it.journal.recount(first)
        writing.set_result(None)
        await it.store.let_through()
        assert (it.store.inserts, it.store.recounts) == ([[1], []], [[], [1]])


async def test_deliveries_of_a_message_that_is_settled_meanwhile_are_not_counted() -> None:
    async with bench() as it:
        first = message(1, state=STORED)
        it.journal.recount(first)
        it.journal.settle(first)
        await it.store.let_through()
        assert (it.store.recounts, it.store.deletes) == ([[]], [[1]])


async def test_a_transaction_takes_all_that_came_before_into_one_batch() -> None:
    async with bench(JournalLimits(batch_messages=2, batch_deletes=1)) as it:
        for number in range(1, 5):
            it.journal.append(message(number))
            it.journal.settle(message(10 + number, state=STORED))
        published = message(5)
        done = it.journal.transact([published], [message(15, state=STORED)])
        await it.store.let_through()
        await done
        assert (it.store.inserts, it.store.deletes) == ([[1, 2, 3, 4, 5]], [[11, 12, 13, 14, 15]])
        assert published.state == STORED


async def test_a_transaction_is_done_when_it_is_committed_and_not_before() -> None:
    async with bench() as it:
        done = under_way(it.journal.transact([message(1)], []))
        writing = await it.store.begun()
        assert not done.done()
        writing.set_result(None)
        await turn()
        assert done.done()


async def test_a_purge_is_written_with_what_was_spilled_before_it() -> None:
    async with bench() as it:
        slot = Slot(7, 0, 1, 3, 3, transient=True)
        it.journal.spill(message(1, state=TRANSIENT))
        done = it.journal.purge([slot])
        await it.store.let_through()
        await done
        assert (it.store.inserts, it.store.batches[0].purges) == ([[1]], [slot])


async def test_slots_are_given_away_with_what_was_taken_before_them() -> None:
    async with bench() as it:
        it.journal.append(message(1))
        slot = Slot(QUEUE.queue_id, 0, 1, 1, 1)
        given = under_way(it.journal.give([slot]))
        writing = await it.store.begun()
        assert (it.store.inserts, it.store.batches[0].slots, given.done()) == ([[1]], [slot], False)
        writing.set_result(None)
        await given
        assert it.journal.is_idle


async def test_a_spilled_message_stays_transient_and_can_be_forgotten() -> None:
    async with bench() as it:
        spilled = message(1, state=TRANSIENT)
        it.journal.spill(spilled)
        await it.store.let_through()
        it.journal.forget(spilled)
        await it.store.let_through()
        assert (it.store.inserts, it.store.deletes, spilled.state) == ([[1], []], [[], [1]], TRANSIENT)
        assert it.journal.pending_bytes == 0


async def test_the_high_water_mark_runs_ahead_of_every_id_of_the_batch() -> None:
    async with bench(high_water=5) as it:
        it.journal.append(message(9))
        done = it.journal.transact([message(4)], [])
        await it.store.let_through()
        await done
        assert it.store.batches[0].high_water == 9 + HIGH_WATER_AHEAD


async def test_the_high_water_mark_stays_while_ids_are_below_it() -> None:
    async with bench(high_water=5) as it:
        it.journal.append(message(5))
        await it.store.let_through()
        assert it.store.batches[0].high_water == 5


async def test_a_store_that_is_away_is_tried_again_less_and_less_often() -> None:
    async with bench(JournalLimits(retry=Backoff(1.0, 3.0))) as it:
        first = message(1)
        it.journal.append(first)
        for _ in range(4):
            (await it.store.begun()).set_exception(StoreUnavailable("away"))
            await turn()
        assert (it.journal.is_failing, first.state, it.slept) == (True, WRITING, [1.0, 2.0, 3.0, 3.0])
        await it.store.let_through()
        assert (it.journal.is_failing, first.state, it.journal.counters.retries) == (False, STORED, 4)
        assert it.store.inserts == [[1]] * 5


async def test_a_store_that_refuses_for_good_ends_the_journal() -> None:
    store = Gate()
    journal = GroupCommitJournal(
        store,  # type: ignore[arg-type]
        high_water=0,
        touched_confirms=set(),
        on_settled=lambda: None,
        on_full=lambda is_full: None,
    )
    running = asyncio.get_running_loop().create_task(journal.run())
    journal.append(message(1))
    (await store.begun()).set_exception(StoreError("broken"))
    with pytest.raises(StoreError):
        await running


async def test_a_write_is_stalled_since_it_began_and_not_since_its_last_try() -> None:
    async with bench() as it:
        assert it.journal.stalled_for(130.0) == 0.0
        it.journal.append(message(1))
        await it.store.fail(StoreUnavailable("away"))
        await it.store.fail(StoreFull("full"))
        assert (it.journal.stalled_for(130.0), it.journal.stalled_for(99.0)) == (30.0, 0.0)
        await it.store.let_through()
        assert it.journal.stalled_for(130.0) == 0.0


async def test_publishers_are_held_back_above_the_limit_and_go_on_at_half_of_it() -> None:
    async with bench(JournalLimits(batch_messages=1, pending_messages=4)) as it:
        for number in range(1, 5):
            it.journal.append(message(number))
        assert not it.journal.check_full()
        it.journal.append(message(5))
        assert it.journal.check_full()
        for _ in range(3):
            await it.store.let_through()
        assert (it.full, it.journal.check_full()) == ([True, False], False)


async def test_publishers_are_held_back_for_octets_too() -> None:
    async with bench(JournalLimits(batch_bytes=1, pending_bytes=12_000)) as it:
        for number in range(1, 4):
            it.journal.append(message(number, size=4000))
        assert it.journal.check_full()
        await it.store.let_through()
        assert it.full == [True]
        await it.store.let_through()
        assert it.full == [True, False]


async def test_publishers_are_not_let_go_before_half_is_written() -> None:
    async with bench(JournalLimits(batch_messages=1, pending_messages=4)) as it:
        for number in range(1, 8):
            it.journal.append(message(number))
        it.journal.check_full()
        for _ in range(4):
            await it.store.let_through()
        assert it.full == [True]
        await it.store.let_through()
        assert it.full == [True, False]


async def test_publishers_are_let_go_when_half_of_the_octets_is_written() -> None:
    weight = message(0).weight
    async with bench(JournalLimits(batch_messages=1, pending_bytes=4 * weight)) as it:
        for number in range(1, 7):
            it.journal.append(message(number))
        it.journal.check_full()
        for _ in range(3):
            await it.store.let_through()
        assert (it.full, it.journal.pending_bytes) == ([True], 2 * weight), "and a third one is being written"
        await it.store.let_through()
        assert it.full == [True, False]


async def test_everything_is_flushed_at_once_when_nothing_waits() -> None:
    async with bench() as it:
        await it.journal.flushed()
        assert it.store.batches == []


async def test_flushed_waits_for_the_batch_that_is_being_written() -> None:
    async with bench() as it:
        it.journal.append(message(1))
        writing = await it.store.begun()
        flushed = under_way(it.journal.flushed())
        await turn()
        assert not flushed.done()
        writing.set_result(None)
        await turn()
        assert flushed.done()
        assert it.journal.counters.commits == 1


async def test_draining_waits_for_deletes_that_follow_from_the_last_batch() -> None:
    async with bench() as it:
        first = message(1)
        it.journal.append(first)
        writing = await it.store.begun()
        it.journal.settle(first)
        drained = under_way(it.journal.drain())
        writing.set_result(None)
        await it.store.let_through()
        await drained
        assert it.store.deletes == [[], [1]]
        assert it.journal.is_idle
