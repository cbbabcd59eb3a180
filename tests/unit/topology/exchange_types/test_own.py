"""Exchange types of one's own: what they are asked, and that their failures stay their own (docs/exchange-types.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import pytest

from broker.codec.field_table import FieldTable
from broker.codec.properties import BasicProperties
from broker.errors import PreconditionFailed
from broker.topology.binding import Destination
from broker.topology.exchange import Exchange, ExchangeTypes
from broker.topology.exchange_types.own import NewExchangeType, OwnRouter
from tests.support.bindings import OTHER, UNREADABLE, Q, binding, matched, without

HAS_FAILED = "cannot route through exchange 'x': its type 'x-own' has failed"


class Recorder:
    """Notes what it is asked, and answers with every destination."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self.asked: list[tuple[Any, ...]] = [("init", arguments)]
        self.bound: list[Destination] = []

    def bind(self, destination: Destination, routing_key: str, arguments: Mapping[str, Any]) -> None:
        self.asked.append(("bind", destination, routing_key, arguments))
        self.bound.append(destination)

    def unbind(self, destination: Destination, routing_key: str, arguments: Mapping[str, Any]) -> None:
        self.asked.append(("unbind", destination, routing_key, arguments))
        self.bound.remove(destination)

    def route(self, routing_key: str, headers: Mapping[str, Any], properties: BasicProperties) -> Iterable[Destination]:
        self.asked.append(("route", routing_key, headers, properties.message_id))
        return iter(self.bound)


class Checking(Recorder):
    def __init__(self, arguments: Mapping[str, Any]) -> None:
        super().__init__(arguments)
        if "bad" in arguments:
            raise ValueError("bad makes no sense")
        if "worse" in arguments:
            raise KeyError("worse")

    def check(self, destination: Destination, routing_key: str, arguments: Mapping[str, Any]) -> None:
        if routing_key == "bad":
            raise ValueError("a key that is bad")
        if routing_key == "worse":
            raise KeyError("worse")


class Failing(Recorder):
    """Fails at what its arguments name."""

    def bind(self, destination: Destination, routing_key: str, arguments: Mapping[str, Any]) -> None:
        if routing_key == "fails":
            raise RuntimeError("bind")
        super().bind(destination, routing_key, arguments)

    def unbind(self, destination: Destination, routing_key: str, arguments: Mapping[str, Any]) -> None:
        super().unbind(destination, routing_key, arguments)
        raise RuntimeError("unbind")

    def route(self, routing_key: str, *_: Any) -> Any:
        if routing_key == "raises":
            raise RuntimeError("route")
        return {"none": None, "half": [Q, 7], "kind": [("topic", "q")], "name": [("queue", 7)]}[routing_key]


class Static(Recorder):
    routes_by_key_alone = True


class Subject:
    """An exchange of a class of one's own, and what was told of the class's failures."""

    def __init__(
        self,
        new: NewExchangeType,
        arguments: Mapping[str, Any] | None = None,
        faults: list[tuple[str, str]] | None = None,
        **flags: bool,
    ) -> None:
        self.faults = [] if faults is None else faults
        types = ExchangeTypes(len, {"x-own": partial(OwnRouter, "x-own", self._made(new), self._on_fault)})
        self.exchange = Exchange("x", "x-own", FieldTable.of(arguments or {}), types, **flags)

    def _made(self, new: NewExchangeType) -> NewExchangeType:
        def make(arguments: Mapping[str, Any]) -> Any:
            self.own: Any = new(arguments)
            return self.own

        return make

    def _on_fault(self, type: str, error: Exception) -> None:
        self.faults.append((type, repr(error)))


def test_it_is_told_of_arguments_bindings_and_messages() -> None:
    subject = Subject(Recorder, {"a": 1})
    subject.exchange.bind(binding(Q, "k", {"b": 2}))
    subject.exchange.bind(binding(OTHER, "l"))
    assert matched(subject.exchange, "key", {"h": 3}, message_id="7") == [Q, OTHER]
    without(subject.exchange, Q)
    assert matched(subject.exchange, "key", {}) == [OTHER]
    assert subject.own.asked == [
        ("init", {"a": 1}),
        ("bind", Q, "k", {"b": 2}),
        ("bind", OTHER, "l", {}),
        ("route", "key", {"h": 3}, "7"),
        ("unbind", Q, "k", {"b": 2}),
        ("route", "key", {}, None),
    ]
    assert subject.faults == []


def test_it_is_asked_for_each_message_unless_it_says_that_the_key_decides() -> None:
    assert Subject(Recorder).exchange.is_dynamic
    static = Subject(Static)
    static.exchange.bind(binding(Q))
    assert not static.exchange.is_dynamic
    assert matched(static.exchange, "key", {"h": 3}) == [Q]
    assert static.own.asked[-1] == ("route", "key", {}, None)


@pytest.mark.parametrize(
    ("arguments", "text", "faults"),
    [
        ({"bad": 1}, "bad makes no sense", []),
        ({"worse": 1}, "exchange 'x': its type 'x-own' has failed", [("x-own", "KeyError('worse')")]),
    ],
)
def test_what_it_raises_at_a_declaration_refuses_it(
    arguments: Mapping[str, Any], text: str, faults: list[tuple[str, str]]
) -> None:
    told: list[tuple[str, str]] = []
    with pytest.raises(PreconditionFailed, match=f"^{text}$"):
        Subject(Checking, arguments, told)
    assert told == faults


@pytest.mark.parametrize("arguments", [{"bad": 1}, {"worse": 1}])
def test_a_recorded_exchange_that_it_refuses_is_there_and_routes_nothing(arguments: Mapping[str, Any]) -> None:
    subject = Subject(Checking, arguments, is_recorded=True)
    assert subject.exchange.what_is_wrong.startswith("its type 'x-own' refuses it: ")
    subject.exchange.bind(binding(Q))
    assert matched(subject.exchange, "k", {}) == []


@pytest.mark.parametrize(
    ("key", "text", "faults"),
    [
        ("bad", "a key that is bad", []),
        ("worse", "exchange 'x': its type 'x-own' has failed", [("x-own", "KeyError('worse')")]),
    ],
)
def test_what_it_raises_when_it_checks_a_binding_refuses_it(key: str, text: str, faults: list[tuple[str, str]]) -> None:
    subject = Subject(Checking)
    subject.exchange.check(binding(Q, "good"))
    with pytest.raises(PreconditionFailed, match=f"^{text}$"):
        subject.exchange.check(binding(Q, key))
    assert subject.faults == faults


def test_a_binding_that_is_recorded_is_there_even_if_it_fails() -> None:
    subject = Subject(Failing)
    assert subject.exchange.bind(binding(Q, "fails"))
    assert subject.exchange.bind(binding(OTHER, "k"))
    assert subject.exchange.unbind(binding(Q, "fails"))
    assert subject.exchange.unbind(binding(OTHER, "k"))
    assert subject.exchange.is_unused
    assert subject.faults == [("x-own", "RuntimeError('bind')"), ("x-own", "RuntimeError('unbind')")]
    assert [asked[0] for asked in subject.own.asked] == ["init", "bind", "unbind"]


@pytest.mark.parametrize(
    ("key", "fault"),
    [
        ("raises", "RuntimeError('route')"),
        ("none", "TypeError"),
        ("half", "TypeError"),
        ("kind", "TypeError(\"route has returned ('topic', 'q'), which is no destination\")"),
        ("name", "TypeError(\"route has returned ('queue', 7), which is no destination\")"),
    ],
)
def test_what_goes_wrong_with_a_message_refuses_it(key: str, fault: str) -> None:
    subject = Subject(Failing)
    with pytest.raises(PreconditionFailed, match=HAS_FAILED):
        matched(subject.exchange, key, {})
    [(_, told)] = subject.faults
    assert told.startswith(fault)


def test_properties_that_cannot_be_read_refuse_the_message() -> None:
    with pytest.raises(PreconditionFailed, match=HAS_FAILED):
        list(Subject(Recorder).exchange.match("key", UNREADABLE, None))  # type: ignore[arg-type]
