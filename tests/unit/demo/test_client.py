"""How the demo's client counts what is confirmed."""

from __future__ import annotations

from broker.codec.methods import BasicAck
from broker.demo.client import Owed


def test_single_and_multiple_confirms_are_each_counted_once() -> None:
    owed = Owed()
    owed.last_published = 10
    assert [owed.take(ack) for ack in (BasicAck(2), BasicAck(1), BasicAck(5, multiple=True), BasicAck(7))] == [
        1,
        1,
        3,
        1,
    ]
    assert owed.unconfirmed == 4
    assert owed.take(BasicAck(10, multiple=True)) == 4
    assert owed.unconfirmed == 0
