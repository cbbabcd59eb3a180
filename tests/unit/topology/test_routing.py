"""The routing table by itself: what goes with a deletion (contract X9, X12). Routes:
tests/unit/topology/test_vhost.py."""

from __future__ import annotations

import gc

import pytest

from broker.cache_budget import CacheBudget
from broker.codec.field_table import EMPTY_TABLE
from broker.topology.binding import Binding, Destination
from broker.topology.exchange import Exchange
from broker.topology.exchange_types.fanout import FanoutRouter
from broker.topology.routed_message import ANY_MESSAGE
from broker.topology.routing import _AT_ONCE, Route, RoutingTable
from broker.turn_budget import TurnBudget
from tests.support.bindings import EXCHANGE_TYPES
from tests.support.composition import new_queue


def table_with(*exchanges: str, auto_delete: bool = True) -> RoutingTable:
    table = RoutingTable()
    for name in exchanges:
        table.add_exchange(Exchange(name, "fanout", EMPTY_TABLE, EXCHANGE_TYPES, durable=True, auto_delete=auto_delete))
    return table


def binding(source: str, destination: str, key: str = "") -> Binding:
    return Binding(source, ("exchange", destination), key, EMPTY_TABLE)


@pytest.fixture
def chain() -> RoutingTable:
    table = table_with("a", "b", "c")
    table.bind(binding("a", "b"))
    table.bind(binding("b", "c"))
    return table


def test_exchanges_that_lose_their_last_binding_go_one_after_the_other(chain: RoutingTable) -> None:
    assert chain.unused_without(("exchange", "c")) == ["b", "a"]


def test_an_exchange_with_another_binding_stays_and_so_does_what_leads_to_it(chain: RoutingTable) -> None:
    chain.add_exchange(Exchange("d", "fanout", EMPTY_TABLE, EXCHANGE_TYPES))
    chain.bind(binding("b", "d"))
    assert chain.unused_without(("exchange", "c")) == []


def test_an_exchange_that_is_not_auto_delete_stays() -> None:
    table = table_with("a", "b", auto_delete=False)
    table.bind(binding("a", "b"))
    assert table.unused_without(("exchange", "b")) == []


def test_a_cycle_of_exchanges_is_followed_once(chain: RoutingTable) -> None:
    chain.bind(binding("c", "a"))
    assert chain.unused_without(("exchange", "c")) == ["b", "a"]


def test_asking_what_would_go_changes_nothing(chain: RoutingTable) -> None:
    chain.unused_without(("exchange", "c"))
    assert list(chain.exchanges) == ["a", "b", "c"]
    assert chain.unused_without(("exchange", "c")) == ["b", "a"]


def test_no_more_exchanges_than_asked_for_go_at_once_and_the_others_are_known_as_unused() -> None:
    table = table_with("a", "b", "c", "d")
    for name in ("a", "b", "c"):
        table.bind(binding(name, "d"))
    assert table.unused_without(("exchange", "d"), 2) == ["a", "b"]
    table.remove_exchanges(["a", "b", "d"])
    assert list(table.unused) == ["c"]
    table.add_exchange(Exchange("e", "fanout", EMPTY_TABLE, EXCHANGE_TYPES))
    table.bind(binding("c", "e"))
    assert not table.unused
    table.unbind(binding("c", "e"))
    assert list(table.unused) == ["c"]
    table.remove_exchanges(["c"])
    assert not table.unused


def test_a_removed_exchange_takes_the_bindings_from_and_to_it_along(chain: RoutingTable) -> None:
    chain.remove_exchanges(["b"])
    assert list(chain.exchanges) == ["a", "c"]
    assert chain.exchanges["a"].is_unused
    assert chain.unused_without(("exchange", "c")) == []


def test_a_destination_stays_known_until_its_last_binding_goes() -> None:
    table = table_with("a", "b")
    table.bind(binding("a", "b", "one"))
    table.bind(binding("a", "b", "two"))
    table.unbind(binding("a", "b", "one"))
    assert table.unused_without(("exchange", "b")) == ["a"]
    table.unbind(binding("a", "b", "two"))
    assert table.unused_without(("exchange", "b")) == []


def test_a_removal_makes_routes_be_found_anew(chain: RoutingTable) -> None:
    budget = CacheBudget()
    one, other = chain.routes_for("some", budget), chain.routes_for("all", budget)
    one[b"arguments"] = other[b"arguments"] = Route(b"", "a", "", False, 0)
    chain.remove_exchanges(["c"])
    assert (one, other) == ({}, {})


def test_publishers_with_equal_permissions_share_their_routes_and_others_do_not(chain: RoutingTable) -> None:
    budget = CacheBudget()
    routes = chain.routes_for(("a", "b"), budget)
    routes[b"arguments"] = Route(b"", "a", "", False, 0)
    assert chain.routes_for(("a", "b"), budget) is routes
    assert chain.routes_for(("a", "c"), budget) == {}


def test_routes_of_permissions_that_nobody_has_any_more_are_not_kept(chain: RoutingTable) -> None:
    chain.routes_for("nobody's", CacheBudget())[b"arguments"] = Route(b"", "a", "", False, 0)
    gc.collect()
    assert chain.routes_for("nobody's", CacheBudget()) == {}


@pytest.mark.parametrize("destination", [("exchange", "missing"), ("queue", "missing")])
def test_what_is_not_there_is_not_durable(destination: Destination) -> None:
    assert not table_with("a").is_durable(destination)


def test_what_is_unbound_leaves_nothing(chain: RoutingTable) -> None:
    chain.unbind(binding("a", "b"))
    chain.unbind(binding("b", "c"))
    assert chain._sources == {}


class CountedRouter(FanoutRouter):
    """Counts how often a binding is removed."""

    removed = 0

    def remove(self, binding: Binding) -> None:
        CountedRouter.removed += 1
        super().remove(binding)


def many_bindings(count: int) -> RoutingTable:
    """An exchange with so many bindings to the exchange `end`."""
    CountedRouter.removed = 0
    table = table_with("end")
    options = {"durable": True, "auto_delete": True}
    table.add_exchange(Exchange("start", "fanout", EMPTY_TABLE, EXCHANGE_TYPES, router=CountedRouter(), **options))
    for number in range(count):
        table.bind(binding("start", "end", str(number)))
    return table


def test_many_bindings_to_what_is_deleted_are_forgotten_in_parts() -> None:
    table = many_bindings(2 * _AT_ONCE + 1)
    table.remove_exchanges(["end"])
    assert (CountedRouter.removed, list(table.exchanges["start"].bindings)) == (_AT_ONCE, [])
    assert list(table.unused) == ["start"]
    rest = table.rest_of(("exchange", "end"))
    assert rest is not None
    next(rest)
    assert CountedRouter.removed == 2 * _AT_ONCE
    assert list(rest) == []
    assert CountedRouter.removed == 2 * _AT_ONCE + 1
    assert table.rest_of(("exchange", "end")) is None


def test_few_bindings_are_forgotten_at_once() -> None:
    table = many_bindings(_AT_ONCE)
    table.remove_exchanges(["end"])
    assert (CountedRouter.removed, table.rest_of(("exchange", "end"))) == (_AT_ONCE, None)


def test_whoever_has_the_name_next_has_none_of_the_old_bindings() -> None:
    table = many_bindings(2 * _AT_ONCE + 1)
    table.remove_exchanges(["end"])
    rest = table.rest_of(("exchange", "end"))
    assert rest is not None
    table.add_exchange(Exchange("end", "fanout", EMPTY_TABLE, EXCHANGE_TYPES))
    assert CountedRouter.removed == 2 * _AT_ONCE + 1
    table.bind(binding("start", "end"))
    assert list(rest) == []
    assert [each.routing_key for each in table.exchanges["start"].bindings] == [""]
    assert list(table.exchanges["start"].match("", ANY_MESSAGE, TurnBudget())) == [("exchange", "end")]


def test_a_schedule_that_is_gone_is_found_no_more() -> None:
    table = RoutingTable()
    table.remove_schedule()  # there is none
    schedule = new_queue("amq.delayed", 9)
    table.add_schedule(schedule)
    assert (table.schedule, table.queues_by_id) == (schedule, {9: schedule})
    table.remove_schedule()
    assert (table.schedule, table.queues_by_id) == (None, {})
