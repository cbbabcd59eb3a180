"""Group commit of what goes to streams: with everything else, in order, confirmed when it has its place (ADR 81)."""

from __future__ import annotations

from broker.errors import StoreUnavailable
from broker.message import PENDING, SETTLED, STORED, WRITING, KeyClaim, KeyedMessage, Message, body_tails
from broker.store.journal_limits import JournalLimits
from tests.unit.store.journal_bench import Bench, Queue, bench, message, turn, under_way

LOG, AUDIT = Queue(8, is_stream=True), Queue(9, is_stream=True)


def record(number: int, stream: Queue = LOG, *, size: int = 10, confirms: str | None = None) -> Message:
    made = Message(number, stream, b"\0\0", b"", *body_tails(b"x" * size, 4096), PENDING)
    made.confirms = confirms
    return made


def appends(it: Bench) -> list[dict[int, list[int]]]:
    """Return the ids that each batch has appended, by stream."""
    return [{each.queue_id: [one.id for one in each.messages] for each in batch.appends} for batch in it.store.batches]


def told(it: Bench) -> list[int]:
    """Collect, from now on, the streams that have got something."""
    streams: list[int] = []
    it.journal._on_appended = lambda done: streams.extend(each.queue_id for each in done)
    return streams


async def test_what_goes_to_streams_is_written_with_all_others_and_then_confirmed() -> None:
    async with bench() as it:
        streams, first = told(it), record(1, confirms="a")
        it.journal.append_to_stream(first)
        it.journal.append(message(2))
        it.journal.append_to_stream(record(3, AUDIT))
        it.journal.append_to_stream(record(4))
        writing = await it.store.begun()
        assert (appends(it), it.store.inserts) == ([{8: [1, 4], 9: [3]}], [[2]])
        assert (first.state, streams, it.touched) == (WRITING, [], set())
        writing.set_result(None)
        await turn()
        assert (first.state, streams, it.touched, it.journal.pending_bytes) == (STORED, [8, 9], {"a"}, 0)
        assert it.journal.counters.inserted == 4


async def test_a_batch_takes_only_so_much_and_the_rest_follows() -> None:
    async with bench(JournalLimits(batch_messages=2)) as it:
        for number in range(1, 6):
            it.journal.append_to_stream(record(number))
        for _ in range(3):
            await it.store.let_through()
        assert appends(it) == [{8: [1, 2]}, {8: [3, 4]}, {8: [5]}]


async def test_a_transaction_appends_behind_all_that_was_published_before_it() -> None:
    async with bench() as it:
        it.journal.append_to_stream(record(1))
        writing = await it.store.begun()
        it.journal.append_to_stream(record(2))
        committed = record(4)
        done = under_way(it.journal.transact([message(3), committed], ()))
        writing.set_result(None)
        await it.store.let_through()
        await done
        assert (appends(it), it.store.inserts[-1]) == ([{8: [1]}, {8: [2, 4]}], [3])
        assert committed.state == STORED


async def test_a_write_that_fails_is_tried_again_with_the_same_messages() -> None:
    async with bench() as it:
        first = record(1)
        it.journal.append_to_stream(first)
        await it.store.fail(StoreUnavailable("away"))
        assert first.state == WRITING
        await it.store.let_through()
        assert (appends(it), first.state) == ([{8: [1]}, {8: [1]}], STORED)


async def test_a_message_that_asks_for_keys_is_appended_instead_of_inserted() -> None:
    async with bench() as it:
        made = [KeyedMessage(number, LOG, b"\0\0", b"header", b"", None, PENDING) for number in (1, 2)]
        for each in made:
            each.claims = (KeyClaim(7, str(each.id), each.id, 0, 10),)
            it.journal.append_keyed([each])
        it.journal.append_to_stream(record(3))
        writing = await it.store.begun()
        assert (appends(it), it.store.inserts) == ([{8: [1, 2, 3]}], [[]])
        batch = it.store.batches[-1]
        batch.duplicates.add(2)  # as the store does
        batch.appends[0].leave_out(batch.duplicates)
        writing.set_result(None)
        await turn()
        assert [each.state for each in made] == [STORED, SETTLED]
        assert it.journal.pending_bytes == 0


async def test_publishers_wait_while_much_waits_to_be_appended() -> None:
    async with bench(JournalLimits(pending_bytes=1500)) as it:
        it.journal.append_to_stream(record(1, size=2000))
        assert it.journal.check_full()
        await it.store.let_through()
        assert it.full == [True, False]
