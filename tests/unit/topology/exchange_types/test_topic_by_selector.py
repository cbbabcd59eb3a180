"""`amq.topic` with selectors (docs/jms.md): the message decides only where a binding has one."""

from __future__ import annotations

import pytest

from broker.errors import InvalidSelector
from broker.selector.selector import Selector
from broker.topology.binding import BY_MESSAGE, Binding, Destination
from broker.topology.dialect import SELECTOR
from broker.topology.exchange_types.topic_by_selector import TopicBySelectorRouter
from broker.topology.routed_message import ANY_MESSAGE
from broker.turn_budget import TurnBudget
from tests.support.bindings import OTHER, Q, binding, message


@pytest.fixture
def subject() -> TopicBySelectorRouter:
    return TopicBySelectorRouter(Selector, {})


def selecting(selector: object, key: str = "news", queue: str = "q") -> Binding:
    return binding(("queue", queue), key, {SELECTOR: selector})


def routed(subject: TopicBySelectorRouter, key: str = "news", **headers: object) -> list[str]:
    found = subject.match(key, message(headers), TurnBudget())
    return [each[1] for each in found if each is not None]


def test_each_binding_gets_what_its_selector_lets_pass(subject: TopicBySelectorRouter) -> None:
    subject.add(selecting("n > 1", queue="larger"))
    subject.add(selecting("n = 1", "#", queue="one"))
    subject.add(binding(("queue", "all"), "news"))
    assert routed(subject, n=1) == ["all", "one"]
    assert routed(subject, n=2) == ["all", "larger"]
    assert routed(subject, "other", n=1) == ["one"]


def test_the_message_decides_only_for_keys_that_lead_to_a_selector(subject: TopicBySelectorRouter) -> None:
    subject.add(selecting("n > 1"))
    subject.add(binding(OTHER, "weather"))
    assert list(subject.match("weather", ANY_MESSAGE, TurnBudget())) == [OTHER]
    [decided] = subject.match("news", ANY_MESSAGE, TurnBudget())
    assert decided is BY_MESSAGE


@pytest.mark.parametrize("selector", ["", "  ", "TRUE OR n = 1"])
def test_a_selector_that_every_message_passes_costs_nothing(subject: TopicBySelectorRouter, selector: str) -> None:
    subject.add(selecting(selector))
    assert list(subject.match("news", ANY_MESSAGE, TurnBudget())) == [Q]
    subject.remove(selecting(selector))
    assert list(subject.match("news", ANY_MESSAGE, TurnBudget())) == []


def test_what_is_removed_leaves_the_others(subject: TopicBySelectorRouter) -> None:
    for key, selector in (("news", "n = 1"), ("news", "n = 2"), ("*", "n = 1")):
        subject.add(selecting(selector, key))
    subject.remove(selecting("n = 1", "news"))
    subject.remove(selecting("n = 1", "*"))
    assert (routed(subject, n=1), routed(subject, n=2)) == ([], ["q"])
    subject.remove(selecting("n = 2", "news"))
    assert list(subject.match("news", ANY_MESSAGE, TurnBudget())) == []


@pytest.mark.parametrize("selector", ["a = = 1", 5, True, None])
def test_a_selector_that_is_none_is_refused(subject: TopicBySelectorRouter, selector: object) -> None:
    with pytest.raises(InvalidSelector):
        subject.check(selecting(selector))


def test_octets_that_are_no_utf_8_are_a_selector(subject: TopicBySelectorRouter) -> None:
    subject.add(selecting(b"s = '\xe9'"))
    assert routed(subject, s="é") == ["q"]


def test_of_a_thousand_selectors_only_those_are_looked_at_that_may_match(subject: TopicBySelectorRouter) -> None:
    for number in range(1000):
        subject.add(selecting(f"kind = 'k{number}' AND size > 5", queue=f"q{number}"))
    work = TurnBudget()
    found = list(subject.match("news", message({"kind": "k7", "size": 9}), work))
    assert found == [("queue", "q7")]
    assert work.done < 10


def test_a_destination_gets_nothing_from_a_publisher_that_it_does_not_want() -> None:
    unwanted: dict[Destination, object] = {}
    subject = TopicBySelectorRouter(Selector, unwanted)
    for each in (binding(OTHER, "news"), binding(Q, "news"), selecting("n = 1", "#")):
        subject.add(each)
    own, other = object(), object()
    unwanted[Q] = own
    for publisher, expected in ((own, [OTHER]), (other, [OTHER, Q, Q]), (None, [OTHER, Q, Q])):
        sent = message({"n": 1})
        sent.publisher = publisher
        assert [each for each in subject.match("news", sent, TurnBudget()) if each is not None] == expected
    subject.remove(selecting("n = 1", "#"))
    found = list(subject.match("news", ANY_MESSAGE, TurnBudget()))
    assert found == [OTHER, BY_MESSAGE]
    assert found[1] is BY_MESSAGE
