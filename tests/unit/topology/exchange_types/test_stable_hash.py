from __future__ import annotations

from broker.topology.exchange_types.stable_hash import stable_hash


def test_equal_values_have_one_hash_in_every_process() -> None:
    assert stable_hash("order") == 7678783868076701064
    assert stable_hash(("queue", "order")) == 9998417532501349287


def test_octets_that_are_no_text_have_a_hash() -> None:
    assert stable_hash("\udcff") != stable_hash("\udcfe")
    assert stable_hash(b"\xff") != stable_hash(b"\xfe")
