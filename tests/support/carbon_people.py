"""Users of WSO2's tables without a database: accounts in a dict, and a node whose logins they are."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from broker.auth.carbon.access import CarbonAccess
from broker.auth.carbon.accounts import Accounts
from broker.auth.carbon.login import CarbonUsers
from broker.auth.carbon.topics import Topics
from broker.auth.directory import Directory
from broker.auth.recorded_access import RecordedAccess
from broker.errors import StoreUnavailable
from broker.ports.user_database import Account, Statement, StoreRules
from tests.support.clock import FakeClock
from tests.support.harness import Client, Harness
from tests.support.logins import InlineHashing, new_passwords

PLAIN = StoreRules(password_digest="PLAIN_TEXT", store_salted_password=False)


class MemoryPeople:
    """A `UserDatabase` of accounts by name."""

    def __init__(self, *accounts: Account) -> None:
        self.accounts = {account.name: account for account in accounts}
        self.roles_of_topics: set[str] = set()
        self.is_away = False
        self.asked: list[tuple[str, ...]] = []

    async def load(self, names: Sequence[str]) -> Mapping[str, Account]:
        if self.is_away:
            raise StoreUnavailable("it is away")
        self.asked.append(tuple(names))
        return {name: self.accounts[name] for name in names if name in self.accounts}

    async def topic_roles(self) -> Collection[str]:
        return self.roles_of_topics


def account(name: str, *grants: tuple[str, str], roles: Sequence[str] = ()) -> Account:
    """Return a user whose password is the name, and who may do these `(action, resource)` by a role."""
    everybody = frozenset({"Internal/everyone", "staff", *roles})
    statements = frozenset(Statement("staff", resource, action, True) for action, resource in grants)
    return Account(name, name, roles=everybody, statements=statements)


class CarbonNode:
    """A node whose users are those of `people`."""

    def __init__(self, people: MemoryPeople, rules: StoreRules = PLAIN) -> None:
        self.clock = FakeClock()
        self.topics = Topics()
        self.accounts = Accounts(people, rules, self.clock.monotonic, 60.0)
        self.directory = Directory()
        self.users = CarbonUsers(self.accounts, new_passwords(InlineHashing(), self.clock), rules)
        self.access = CarbonAccess(self.accounts, self.topics, rules, RecordedAccess(self.directory))
        self.harness = Harness(users=self.users, access=self.access)

    def client(self, name: str, vhost: str = "carbon") -> Client:
        """Return a client of this user, with channel 1 open."""
        return self.harness.peer(login=f"\0{name}\0{name}".encode(), vhost=vhost)
