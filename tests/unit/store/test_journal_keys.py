"""Group commit of messages that ask for keys: who waits, what goes together, what becomes of duplicates (ADR 66)."""

from __future__ import annotations

from collections.abc import Sequence

from broker.errors import BranchConflict, StoreUnavailable
from broker.message import PENDING, SETTLED, STORED, TRANSIENT, KeyClaim, KeyedMessage
from broker.ports.branches import BranchKey, Xid
from broker.store.journal_limits import JournalLimits
from tests.unit.store.journal_bench import QUEUE, Bench, bench, message, turn, under_way


def keyed(number: int, *, state: int = PENDING, confirms: str | None = None, octets: int = 0) -> KeyedMessage:
    made = KeyedMessage(number, QUEUE, b"\x00\x01q", b"header", bytes(octets), None, state)
    made.claims = (KeyClaim(7, f"{number}", number, 0, 10),)
    made.confirms = confirms
    return made


def decided(it: Bench) -> list[list[int]]:
    """Collect, from now on, who is told that the store has decided."""
    told: list[list[int]] = []
    it.journal._on_decided = lambda messages: told.append([each.id for each in messages])
    return told


async def test_messages_that_ask_for_keys_are_written_with_all_others_and_then_decided() -> None:
    async with bench() as it:
        told, first, second = decided(it), keyed(1, confirms="a"), keyed(2, confirms="b")
        it.journal.append_keyed([first])
        it.journal.append(message(3))
        it.journal.append_keyed([second])
        writing = await it.store.begun()
        it.store.batches[-1].duplicates.add(2)
        assert ([each.id for each in it.store.batches[-1].keyed], it.store.inserts) == ([1, 2], [[1, 3, 2]])
        assert (told, first.is_decided) == ([], False)
        writing.set_result(None)
        await turn()
        assert (first.state, second.state, first.is_decided, second.is_decided) == (STORED, SETTLED, True, True)
        assert (told, it.touched) == ([[1, 2]], {"a", "b"})
        counters = it.journal.counters
        assert (counters.inserted, counters.duplicates, counters.deleted) == (2, 1, 0)
        assert second.header == b""


async def test_the_messages_of_one_publish_are_never_parted() -> None:
    async with bench(JournalLimits(batch_messages=2)) as it:
        it.journal.append(message(1))
        it.journal.append_keyed([keyed(2), keyed(3), keyed(4, state=TRANSIENT), keyed(5)])
        it.journal.append(message(6))
        it.journal.append_keyed([keyed(7)])
        await it.store.let_through()
        await it.store.let_through()
        assert it.store.inserts == [[1, 2, 3, 5], [6, 7]]
        assert [[each.id for each in batch.keyed] for batch in it.store.batches] == [[2, 3, 4, 5], [7]]
        assert it.journal.pending_bytes == 0


async def test_what_has_no_row_is_written_for_its_key_alone_and_counts_while_it_waits() -> None:
    async with bench(JournalLimits(pending_bytes=1000)) as it:
        told, only = decided(it), keyed(1, state=TRANSIENT, octets=2000)
        it.journal.append_keyed([only])
        assert (it.journal.check_full(), it.journal.is_idle) == (True, False)
        await it.store.let_through()
        assert (told, only.state, it.journal.check_full(), it.full) == ([[1]], TRANSIENT, False, [True, False])
        assert it.journal.is_idle


async def test_deletes_are_written_before_keys_that_they_may_free_are_asked_for() -> None:
    async with bench(JournalLimits(batch_deletes=1)) as it:
        for number in (1, 2, 3):
            it.journal.settle(message(number, state=STORED))
        it.journal.append_keyed([keyed(4)])
        await it.store.let_through()
        assert (it.store.deletes, it.store.inserts) == ([[1, 2, 3]], [[4]])


async def test_a_transaction_knows_its_duplicates_when_it_is_committed() -> None:
    async with bench() as it:
        there, again, plain = keyed(1), keyed(2), message(3)
        done = under_way(it.journal.transact([there, again, plain], [], keyed=[there, again]))
        writing = await it.store.begun()
        it.store.batches[-1].duplicates.add(2)
        writing.set_result(None)
        await done
        assert (there.state, again.state, plain.state) == (STORED, SETTLED, STORED)


async def test_who_is_left_out_for_a_branch_asks_for_no_key() -> None:
    key = BranchKey("/", Xid(1, b"g", b"b"))
    async with bench() as it:
        left_out, other = keyed(1), keyed(2)
        under_way(it.journal.transact([left_out], [], resolved=[key], keyed=[left_out])).add_done_callback(
            lambda future: future.exception()
        )
        it.journal.append_keyed([other])
        await it.store.fail(BranchConflict(key.digest))
        await it.store.let_through()
        assert [[each.id for each in batch.keyed] for batch in it.store.batches] == [[2, 1], [2]]


async def test_while_the_store_is_away_nobody_is_decided() -> None:
    async with bench() as it:
        told = decided(it)
        it.journal.append_keyed([keyed(1)])
        await it.store.fail(StoreUnavailable("away"))
        assert told == []
        await it.store.let_through()
        assert told == [[1]]


async def test_keys_are_looked_after_before_the_decision_is_told() -> None:
    async with bench() as it:
        told: list[str] = []

        async def look_after(messages: Sequence[KeyedMessage]) -> None:
            told.append("looked after")

        it.journal._on_keyed = look_after
        it.journal._on_decided = lambda messages: told.append("decided")
        it.journal.append_keyed([keyed(1)])
        await it.store.let_through()
        it.journal.append(message(2))
        await it.store.let_through()
        assert told == ["looked after", "decided"]
