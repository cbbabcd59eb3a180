"""Which subscription gets nothing from which connection, and for how long (docs/jms.md)."""

from __future__ import annotations

from broker.topology.own_messages import OwnMessages


def test_routes_are_found_anew_when_a_subscription_wants_less_or_everything_again() -> None:
    changes: list[str] = []
    subject = OwnMessages(lambda: changes.append("changed"))
    subject.end("q")
    assert changes == []
    connection = object()
    subject.begin("q", connection)
    assert subject.unwanted == {("queue", "q"): connection}
    subject.end("q")
    subject.end("q")
    assert (len(changes), subject.unwanted) == (2, {})
