"""A database of users: asked by one statement for all who wait, never by more than one at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, TypeAlias, TypeVar

from sqlalchemy import Connection, inspect

from broker.errors import BrokerError, ConfigError, StoreUnavailable
from broker.ports.user_database import Account, StoreRules
from broker.store.carbon.character_sets import character_set_of, holder
from broker.store.carbon.connections import DEADLINE, Connections
from broker.store.carbon.tables import UM_USER, USER_TABLES
from broker.store.carbon.users import load_accounts, load_topic_roles

T = TypeVar("T")
_Request: TypeAlias = tuple[Sequence[str], asyncio.Future[Mapping[str, Account]]]

MOST_WAITING: Final = 512
"""Requests that wait at most: each is a client that has not logged in."""
_NAMES_AT_ONCE: Final = 100
_PAUSE: Final = 1.0
"""Seconds for which a database that has failed is not asked again."""


class UserTables:
    """WSO2's tables of users in one database; a `UserDatabase`."""

    def __init__(self, connections: Connections, rules: StoreRules) -> None:
        self._connections = connections
        self._rules = rules
        self._waiting: deque[_Request] = deque()
        self._wanted = asyncio.Event()
        self._failed_at = float("-inf")
        self._can_hold: Callable[[str], bool] = lambda name: True
        self.statements = 0
        """How many times the database was asked for users."""

    @property
    def where(self) -> str:
        """Server and database for log lines."""
        return self._connections.where

    async def load(self, names: Sequence[str]) -> Mapping[str, Account]:
        """Return the users with these names. Raises `StoreUnavailable`, also when too many wait."""
        loop = asyncio.get_running_loop()
        names = [name for name in names if self._can_hold(name)]
        if not names:
            return {}
        if loop.time() - self._failed_at < _PAUSE:
            raise StoreUnavailable(f"{self.where} did not answer a moment ago")
        if len(self._waiting) >= MOST_WAITING:
            raise StoreUnavailable("too many logins wait for the user database")
        answer: asyncio.Future[Mapping[str, Account]] = loop.create_future()
        self._waiting.append((names, answer))
        self._wanted.set()
        return await answer

    async def look_up(self, names: Sequence[str]) -> Mapping[str, Account]:
        """Return the users with these names at once, without a turn."""
        names = [name for name in names if self._can_hold(name)]
        return await self.run(lambda connection: load_accounts(connection, names, self._rules))

    async def topic_roles(self) -> Collection[str]:
        return await self.run(load_topic_roles)

    async def run(self, function: Callable[[Connection], T]) -> T:
        """Return what `function` returns, within a deadline. Raises `StoreUnavailable` when there is no answer."""
        try:
            async with asyncio.timeout(DEADLINE):
                return await self._connections.run(function)
        except TimeoutError:
            raise StoreUnavailable(f"{self.where} has not answered for {DEADLINE:g} s") from None

    async def check(self) -> None:
        """Raise `ConfigError` unless all the tables are there, `StoreUnavailable` when that cannot be seen now."""
        there, character_set = await self.run(_what_is_there)
        self._can_hold = holder(character_set)
        missing = [table.name for table in USER_TABLES if table.name not in there]
        if missing:
            raise ConfigError(
                f"user-mgt.xml names {self.where} as the database of users, which has no table {missing[0]}:"
                " make the tables with dbscripts/, or name another dataSource"
            )

    async def serve(self) -> None:
        """Ask for whoever waits, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while self._waiting:
                await self._ask(self._taken())

    def _taken(self) -> list[_Request]:
        """Return those who wait longest, for about so many names as fit into one statement."""
        taken: list[_Request] = []
        count = 0
        while self._waiting and (not taken or count + len(self._waiting[0][0]) <= _NAMES_AT_ONCE):
            names, answer = self._waiting.popleft()
            count += len(names)
            taken.append((names, answer))
        return taken

    async def _ask(self, requests: list[_Request]) -> None:
        names = list(dict.fromkeys(name for each, _ in requests for name in each))
        rules = self._rules
        self.statements += 1
        try:
            found = await self.run(lambda connection: load_accounts(connection, names, rules))
        except StoreUnavailable as error:
            self._failed_at = asyncio.get_running_loop().time()
            _fail(requests, error)
        except BrokerError as error:
            if len(requests) == 1:
                _fail(requests, StoreUnavailable(str(error)))
            for request in requests if len(requests) > 1 else ():  # one of them may be at fault
                await self._ask([request])
        else:
            for asked, answer in requests:
                if not answer.done():
                    answer.set_result({name: found[name] for name in asked if name in found})


def _what_is_there(connection: Connection) -> tuple[set[str], str]:
    """Return the names of the tables, and the character set of names of users."""
    return {name.upper() for name in inspect(connection).get_table_names()}, character_set_of(connection, UM_USER)


def _fail(requests: Sequence[_Request], error: StoreUnavailable) -> None:
    for _, answer in requests:
        if not answer.done():
            answer.set_exception(error)
