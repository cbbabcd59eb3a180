from __future__ import annotations

import gc
from dataclasses import replace

import pytest

from broker.auth.carbon.accounts import BATCH, UNKNOWN_LIFETIME, Accounts
from broker.errors import StoreUnavailable
from broker.ports.user_database import StoreRules
from tests.support.carbon_people import MemoryPeople, account
from tests.support.clock import FakeClock
from tests.support.stage import drive

RULES = StoreRules(case_insensitive_user_name=True)


@pytest.fixture
def people() -> MemoryPeople:
    return MemoryPeople(account("ann"), account("bob"))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def accounts(people: MemoryPeople, clock: FakeClock) -> Accounts:
    return Accounts(people, RULES, clock.monotonic, 60.0, entries=2)


def test_what_was_asked_for_is_fresh_for_its_time_and_known_longer(accounts: Accounts, clock: FakeClock) -> None:
    assert accounts.recall("ann") is None
    entry = drive(accounts.load("ann"))
    assert entry is not None
    assert accounts.fresh("ANN") is entry
    clock.advance(60.0)
    assert accounts.fresh("ann") is None
    assert accounts.recall("ann") is entry


def test_who_is_not_there_is_not_looked_for_again_at_once(accounts: Accounts, clock: FakeClock) -> None:
    assert drive(accounts.load("eve")) is None
    assert accounts.is_unknown("Eve")
    clock.advance(UNKNOWN_LIFETIME)
    assert not accounts.is_unknown("eve")


def test_who_is_used_is_kept_and_others_are_forgotten(accounts: Accounts, people: MemoryPeople) -> None:
    ann = drive(accounts.load("ann"))
    for number in range(3):
        people.accounts[f"u{number}"] = account(f"u{number}")
        drive(accounts.load(f"u{number}"))
    gc.collect()
    assert len(accounts) == 2
    assert accounts.recall("ann") is ann
    assert accounts.recall("u0") is None


def test_a_refresh_asks_for_what_is_old_and_tells_what_has_changed(
    accounts: Accounts, people: MemoryPeople, clock: FakeClock
) -> None:
    ann, bob = drive(accounts.load("ann")), drive(accounts.load("bob"))
    assert drive(accounts.refresh(["ann", "bob"])) == []
    assert people.asked == [("ann",), ("bob",)]
    clock.advance(60.0)
    people.accounts["ann"] = replace(people.accounts["ann"], roles=frozenset({"other"}))
    del people.accounts["bob"]
    assert drive(accounts.refresh(["ann", "bob"])) == ["ann", "bob"]
    assert ann is not None
    assert bob is not None
    assert ann.account.roles == {"other"}
    assert accounts.recall("bob") is None


def test_many_users_are_asked_for_in_batches(accounts: Accounts, people: MemoryPeople) -> None:
    drive(accounts.refresh([f"u{number}" for number in range(BATCH + 1)]))
    assert [len(names) for names in people.asked] == [BATCH, 1]


def test_what_this_node_has_written_is_known_at_once(accounts: Accounts) -> None:
    entry = drive(accounts.load("ann"))
    accounts.change("ann", lambda known: replace(known, roles=frozenset({"new"})))
    accounts.change("nobody", lambda known: known)
    assert entry is not None
    assert entry.account.roles == {"new"}


def test_a_database_that_is_away_changes_nothing(accounts: Accounts, people: MemoryPeople) -> None:
    entry = drive(accounts.load("ann"))
    people.is_away = True
    with pytest.raises(StoreUnavailable):
        drive(accounts.load("ann"))
    assert accounts.recall("ann") is entry
