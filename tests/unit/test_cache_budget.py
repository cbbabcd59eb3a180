"""Caches of one node share a budget of octets."""

from __future__ import annotations

from broker.cache_budget import ENTRY_OVERHEAD, CacheBudget


def test_an_entry_is_counted_with_what_it_costs_beside_its_octets() -> None:
    budget = CacheBudget()
    cache = budget.new_cache()
    cache.remember(b"key", b"value", 8)
    assert cache[b"key"] == b"value"
    assert budget.spent == cache.octets == 8 + ENTRY_OVERHEAD


def test_a_cache_that_is_emptied_gives_its_octets_back() -> None:
    budget = CacheBudget()
    cache = budget.new_cache()
    cache.remember(b"key", b"value", 8)
    cache.clear()
    assert (cache, cache.octets, budget.spent) == ({}, 0, 0)


def test_all_caches_are_emptied_when_together_they_are_too_large() -> None:
    budget = CacheBudget(10_000)
    caches = [budget.new_cache() for _ in range(10)]
    most = 0
    for number in range(1000):
        caches[number % 10].remember(b"%d" % number, number, 1000)
        held = sum(len(cache) for cache in caches) * (1000 + ENTRY_OVERHEAD)
        assert budget.spent == held <= 10_000
        most = max(most, held)
    assert most > 8000


def test_what_was_put_in_last_stays() -> None:
    budget = CacheBudget(1000)
    cache = budget.new_cache()
    for number in range(10):
        cache.remember(b"%d" % number, number, 5000)
        assert cache == {b"%d" % number: number}


def test_dropped_caches_take_no_room() -> None:
    budget = CacheBudget(10_000)
    lasting = budget.new_cache()
    lasting.remember(b"key", b"value", 1000)
    for number in range(1000):
        budget.new_cache().remember(b"%d" % number, number, 1000)
    assert lasting == {b"key": b"value"}
    assert budget.spent <= 10_000


def test_caches_are_looked_at_seldom_while_there_is_no_room() -> None:
    """Each look that finds room finds half of the budget; each that finds none empties all."""
    budget = CacheBudget(100_000)
    cache = budget.new_cache()
    clearings = 0
    for number in range(10_000):
        before = len(cache)
        cache.remember(b"%d" % number, number, 1000 - ENTRY_OVERHEAD)
        clearings += len(cache) < before
    assert clearings <= 10_000 / (50_000 / 1000)
