"""Who gets which key, without a store: tests/contract/test_deduplication_keys.py asks the real ones."""

from __future__ import annotations

from broker.message import PENDING, KeyClaim, KeyedMessage
from broker.store.claiming import Claiming, KeyRow
from tests.unit.store.journal_bench import QUEUE

EXCHANGE, INNER, ORDERS = -5, -4, 7


def keyed(number: int, *claims: tuple[int, str]) -> KeyedMessage:
    made = KeyedMessage(number, QUEUE, b"\x00\x01q", b"", b"", None, PENDING)
    made.claims = tuple(KeyClaim(scope, digest, number, 100, 200 if scope < 0 else 0) for scope, digest in claims)
    return made


def places(claims: list[KeyClaim]) -> list[tuple[int, str]]:
    return [claim.place for claim in claims]


def test_nobody_asks_when_nobody_has_keys() -> None:
    claiming = Claiming([], [])
    assert (claiming.next_claims(), claiming.duplicates) == ([], set())


def test_keys_are_asked_for_in_one_order_whatever_that_of_the_messages() -> None:
    claiming = Claiming([keyed(1, (ORDERS, "b")), keyed(2, (ORDERS, "a")), keyed(3, (ORDERS, "b"))], [])
    assert places(claiming.next_claims()) == [(ORDERS, "a"), (ORDERS, "b")]
    assert claiming.next_claims() == []
    assert claiming.duplicates == {3}


def test_exchanges_come_before_queues_and_queues_in_the_order_of_publishing() -> None:
    first, second = keyed(1, (EXCHANGE, "k"), (INNER, "k"), (ORDERS, "k")), keyed(2, (ORDERS, "k"))
    claiming = Claiming([first, second], [])
    rounds = [places(claiming.next_claims()) for _ in range(4)]
    assert rounds == [[(EXCHANGE, "k")], [(INNER, "k")], [(ORDERS, "k")], []]
    assert claiming.duplicates == {2}


def test_a_key_that_another_message_has_leaves_out_who_asks_for_it() -> None:
    claiming = Claiming([keyed(1, (EXCHANGE, "k"), (ORDERS, "k"))], [])
    claiming.next_claims()
    assert claiming.on_found([KeyRow(EXCHANGE, "k", 9, 101)], ()) == []
    assert (claiming.next_claims(), claiming.duplicates) == ([], {1})


def test_a_key_is_free_when_its_time_is_over() -> None:
    claiming = Claiming([keyed(1, (EXCHANGE, "k"))], [])
    (claim,) = claiming.next_claims()
    row = KeyRow(EXCHANGE, "k", 9, 100)
    assert claiming.on_found([row], ()) == [(claim, row)]
    assert (claiming.next_claims(), claiming.duplicates) == ([], set())


def test_a_free_key_may_be_lost_to_another_node() -> None:
    claiming = Claiming([keyed(1, (EXCHANGE, "k"))], [])
    claiming.next_claims()
    claiming.on_found([KeyRow(EXCHANGE, "k", 9, 100)], ())
    claiming.lose((EXCHANGE, "k"), 0)
    assert (claiming.next_claims(), claiming.duplicates) == ([], {1})


def test_in_doubt_are_the_messages_of_others_that_the_batch_does_not_delete() -> None:
    asking = [keyed(number, (ORDERS, f"{number}")) for number in (1, 2, 3, 4)]
    claiming = Claiming(asking, [12])
    claiming.next_claims()
    found = [KeyRow(ORDERS, "1", 1, 0), *(KeyRow(ORDERS, f"{number}", 10 + number, 0) for number in (2, 3, 4))]
    assert claiming.doubtful(found) == [13, 14]
    free = claiming.on_found(found, {13})
    assert [row.owner for _, row in free] == [12, 14]
    assert (claiming.next_claims(), claiming.duplicates) == ([], {3})
