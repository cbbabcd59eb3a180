from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from broker.auth.carbon.accounts import Accounts
from broker.auth.carbon.login import CarbonUsers
from broker.auth.identity import Identity, Refused
from broker.errors import ConnectionForced
from broker.ports.user_database import Account, StoreRules
from tests.support.carbon_people import MemoryPeople, account
from tests.support.clock import FakeClock
from tests.support.logins import InlineHashing, new_passwords
from tests.support.stage import drive

RULES = StoreRules(password_digest="PLAIN_TEXT", store_salted_password=False, case_insensitive_user_name=True)


class Login:
    """The logins of a node with these people."""

    def __init__(self, *accounts: Account, rules: StoreRules = RULES) -> None:
        self.reason = ""
        self.clock = FakeClock()
        self.people = MemoryPeople(*accounts)
        self.hashing = InlineHashing()
        self.accounts = Accounts(self.people, rules, self.clock.monotonic, 60.0)
        self.users = CarbonUsers(self.accounts, new_passwords(self.hashing, self.clock), rules)

    def __call__(self, name: str, password: str, *, is_loopback: bool = False) -> str | None:
        """Return who has logged in."""
        answer = self.users.log_in(name, password, address="192.0.2.7", is_loopback=is_loopback)
        result = drive(answer) if isinstance(answer, Coroutine) else answer
        self.reason = result.reason if isinstance(result, Refused) else ""
        return result.user if isinstance(result, Identity) else None


def test_a_user_logs_in_by_the_name_that_is_stored() -> None:
    login = Login(account("ann"))
    assert login("ann", "ann") == "ann"
    assert login("ann", "bob") is None
    assert login.reason == "the password is wrong"
    assert login("eve", "eve") is None
    assert login.reason == "there is no such user"


def test_known_credentials_are_answered_at_once_until_they_are_old() -> None:
    login = Login(account("ann"))
    first = login.users.log_in("ann", "ann", address="192.0.2.7", is_loopback=False)
    assert isinstance(first, Coroutine)
    identity = drive(first)
    assert not isinstance(login.users.log_in("ann", "ann", address="192.0.2.7", is_loopback=False), Coroutine)
    assert len(login.people.asked) == 1
    login.clock.advance(60.0)
    assert login("ann", "ann") == "ann"
    assert len(login.people.asked) == 2
    assert login.hashing.hashed == 1
    assert identity is not None


def test_another_password_counts_at_once() -> None:
    login = Login(account("ann"))
    assert login("ann", "ann") == "ann"
    login.people.accounts["ann"] = replace(account("ann"), password="new")
    assert login("ann", "new") == "ann"
    assert login("ann", "ann") is None


def test_guesses_are_held_back_and_then_ask_the_database_nothing() -> None:
    login = Login(account("ann"))
    for number in range(20):
        login("ann", f"wrong{number}")
    assert len(login.people.asked) < 10
    assert login.reason == "held back after wrong passwords"


def test_a_name_that_is_not_there_is_asked_for_once() -> None:
    login = Login()
    assert [login("eve", "eve") for _ in range(3)] == [None] * 3
    assert len(login.people.asked) == 1


def test_a_refused_name_is_not_asked_for_and_costs_as_much() -> None:
    login = Login(account("ann"))
    assert login("ann!other.com", "ann") is None
    assert login.people.asked == []
    assert login.hashing.hashed == 1
    assert login.reason == "users of other tenants than carbon.super are not served"


def test_who_is_known_goes_on_while_the_database_is_away() -> None:
    login = Login(account("ann"), account("bob"))
    assert login("ann", "ann") == "ann"
    login.people.is_away = True
    login.clock.advance(3600.0)
    assert login("ann", "ann") == "ann"
    assert login("ann", "wrong") is None
    with pytest.raises(ConnectionForced, match="the user database is away"):
        login("bob", "bob")


def test_a_password_that_must_be_changed_is_not_good() -> None:
    login = Login(replace(account("ann"), must_change=True))
    assert login("ann", "ann") is None
    assert login.reason == "the password must be changed first (UM_REQUIRE_CHANGE)"


def test_a_stored_text_that_is_no_digest_refuses_its_user_and_says_so() -> None:
    login = Login(account("ann"), rules=StoreRules(password_digest="SHA-256"))
    with capture_logs() as logs:
        assert login("ann", "ann") is None
    assert logs[0]["event"] == "a user cannot log in: the stored password cannot be read"


def test_the_default_password_is_good_from_this_machine_only() -> None:
    login = Login(account("admin"))
    assert login("Admin", "admin") is None
    assert login.reason == "the default password is good from the node's machine only"
    assert login("admin", "admin", is_loopback=True) == "admin"


def test_a_certificate_stands_for_the_password() -> None:
    login = Login(account("ann"), replace(account("bob"), must_change=True))
    found = {name: drive(login.users.known(name, is_loopback=False)) for name in ("ann", "bob", "eve", "x/ann")}
    assert [name for name, identity in found.items() if identity is not None] == ["ann"]
