"""Decides with which database a broker goes on when its URL names several servers (ADR 88).

A standby has the database of its primary. But a server may also be empty, or have the database of another broker, and
the one that cannot be asked may be the one that has the messages.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace

from sqlalchemy import Connection

from broker.config.server_hosts import Address
from broker.errors import BrokerError, ConfigError, StoreUnavailable
from broker.machine.address import endpoint
from broker.store.server.addresses import Servers
from broker.store.server.dialect import Dialect
from broker.store.server.engine import Engine, PoolLimits
from broker.store.sql import identity
from broker.store.sql.identity import UNNAMED, DatabaseIdentity


class DatabaseChoice:
    """The choice that one store makes when it is opened; afterwards `servers` passes over every other database."""

    def __init__(self, servers: Servers, readers: Mapping[Address, Dialect], limits: PoolLimits) -> None:
        """Each of the `readers` connects to one server, also to one that takes no writes."""
        self._servers = servers
        self._readers = readers
        self._limits = replace(limits, max_active=1)
        self._asked: set[Address] = set(readers) if len(readers) == 1 else set()
        """Servers that have answered, and have no other database."""
        self._is_new = False

    async def make(self) -> None:
        """Ask all servers. Raises `StoreUnavailable` while it cannot be known which of them has the messages, and
        `ConfigError` when they have different databases.
        """
        if self._servers.identity or len(self._readers) == 1:
            return
        found, silent = await self._ask_all()
        if not found:
            raise _nobody(silent)
        expected = decide(found, silent, self._servers.name)
        self._is_new = expected is None
        self._expect(expected, found)

    def take(self, connection: Connection) -> int:
        """Give the database in use its identity, if it has none, and return it: to be called in the transaction that
        makes the tables. `keep` has to follow its commit.
        """
        servers = [endpoint(*each) for each in self._asked]
        return identity.take(connection, uuid.uuid4().int >> 65 or 1, servers)

    async def keep(self, number: int) -> None:
        """Let connections go to this database only. Raises `ConfigError` when another node has begun one meanwhile."""
        self._servers.expect(number)
        if self._is_new:
            self._is_new = False
            found, _ = await self._ask_all()
            decide(found, {}, self._servers.name)

    @property
    def is_complete(self) -> bool:
        """Has each server been asked?"""
        return len(self._asked) == len(self._readers)

    async def ask_again(self) -> bool:
        """Ask for servers that were away, or had not this database yet; return whether more are known. `take` then
        records them.
        """
        before = len(self._asked)
        found, _ = await self._ask_all()
        self._asked |= _without_another(found, self._servers.identity)
        return len(self._asked) > before

    def _expect(self, number: int | None, found: Mapping[Address, DatabaseIdentity]) -> None:
        have_it = [each for each, answer in found.items() if number is not None and answer.number == number]
        self._servers.expect(number, have_it)
        self._asked = _without_another(found, number)
        if number == UNNAMED:  # whether they are copies of each other is seen when one of them has a number
            self._asked -= set(have_it)

    async def _ask_all(self) -> tuple[dict[Address, DatabaseIdentity], dict[Address, BrokerError]]:
        """Return what the servers say, and why others say nothing, in the order of the URL."""
        answers: dict[Address, DatabaseIdentity | BrokerError] = {}

        async def ask(address: Address, reader: Dialect) -> None:
            engine = Engine(reader, self._limits)
            await engine.open()
            try:
                answers[address] = await engine.run(identity.read)
            except BrokerError as error:
                answers[address] = error
            finally:
                await engine.close()

        async with asyncio.TaskGroup() as tasks:
            for address, reader in self._readers.items():
                tasks.create_task(ask(address, reader))
        found = {each: answer for each in self._readers if isinstance(answer := answers[each], DatabaseIdentity)}
        silent = {each: answer for each in self._readers if isinstance(answer := answers[each], BrokerError)}
        return found, silent


def decide(
    found: Mapping[Address, DatabaseIdentity], silent: Mapping[Address, BrokerError], name: Callable[[Address], str]
) -> int | None:
    """Return the number of the database to go on with: `UNNAMED` for one that has none, None for a new one.

    `found` is what servers have said, and `silent` why others say nothing. Raises `StoreUnavailable` when one of these
    may be the one that has the messages, and `ConfigError` when servers have different databases.
    """
    by_number = {answer.number: each for each, answer in found.items() if answer.number is not None}
    numbers = [number for number in by_number if number != UNNAMED]
    if len(numbers) > 1:
        raise ConfigError(
            f"{' and '.join(name(by_number[number]) for number in numbers)} have different databases of this broker, of"
            " which none is a copy of another: name servers of one database only in the datasource's URL"
        )
    number = numbers[0] if numbers else UNNAMED if by_number else None
    copies = [answer for answer in found.values() if number and answer.number == number]
    doubtful = {
        each: error for each, error in silent.items() if not any(copy.knows(endpoint(*each)) for copy in copies)
    }
    if doubtful:
        answers = [
            f"{name(each)} has {'no tables of this broker' if answer.number is None else 'a database of this broker'}"
            for each, answer in found.items()
        ]
        reasons = [f"{name(each)} may have the messages and cannot be asked ({doubtful[each]})" for each in doubtful]
        raise StoreUnavailable(
            f"{'; '.join(answers + reasons)}: bring it back, or take it out of the datasource's URL to go on without it"
        )
    return number


def _without_another(found: Mapping[Address, DatabaseIdentity], number: int | None) -> set[Address]:
    return {each for each, answer in found.items() if answer.number in (None, number)}


def _nobody(silent: Mapping[Address, BrokerError]) -> BrokerError:
    """Return the error for servers none of which answers."""
    errors = list(silent.values())
    if all(isinstance(error, ConfigError) for error in errors):
        return errors[0]
    return StoreUnavailable("; ".join(str(error) for error in errors))
