from __future__ import annotations

from broker.topology.exchange_types.stable_hash import stable_hash


def test_equal_values_have_one_hash_in_every_process() -> None:
    assert stable_hash("order") == 2461974170903303799
    assert stable_hash(("queue", "order")) == 2547955491451698129


def test_octets_that_are_no_text_have_a_hash() -> None:
    assert stable_hash("\udcff") != stable_hash("\udcfe")
    assert stable_hash(b"\xff") != stable_hash(b"\xfe")
