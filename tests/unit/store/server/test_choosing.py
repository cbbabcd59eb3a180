"""With which database a broker goes on when its URL names several servers."""

from __future__ import annotations

import pytest

from broker.config.server_hosts import Address
from broker.config.store_url import parse
from broker.errors import BrokerError, ConfigError, StoreUnavailable
from broker.store.server.addresses import Servers
from broker.store.server.choosing import decide
from broker.store.sql.identity import UNNAMED, DatabaseIdentity, key

A, B, C = ("a", 5432), ("b", 5432), ("c", 5432)
SERVERS = Servers(parse("jdbc:postgresql://a,b,c/mb"))
EMPTY = DatabaseIdentity(None)
AWAY = StoreUnavailable("Connection refused (111)")
OURS = 7


def database(number: int, *servers: str) -> DatabaseIdentity:
    return DatabaseIdentity(number, frozenset(key(f"{each}:5432") for each in servers))


def decided(found: dict[Address, DatabaseIdentity], *silent: Address) -> int | None:
    errors: dict[Address, BrokerError] = dict.fromkeys(silent, AWAY)
    return decide(found, errors, SERVERS.name)


def test_where_nobody_has_a_database_a_new_one_is_made_when_all_have_said_so() -> None:
    assert decided({A: EMPTY, B: EMPTY}) is None


@pytest.mark.parametrize(
    "found",
    [
        {A: database(OURS, "a"), B: database(OURS, "a")},
        {A: EMPTY, B: database(OURS, "b")},
        {A: database(UNNAMED), B: database(OURS, "b")},
    ],
)
def test_where_one_database_is_found_it_is_that_one(found: dict[Address, DatabaseIdentity]) -> None:
    assert decided(found) == OURS


def test_one_of_an_earlier_version_has_no_number_yet() -> None:
    assert decided({A: database(UNNAMED), B: EMPTY}) == UNNAMED


def test_a_promoted_standby_knows_the_server_that_is_away() -> None:
    assert decided({B: database(OURS, "a", "c")}, A, C) == OURS


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({B: EMPTY}, "b:5432/mb has no tables of this broker"),
        ({B: database(OURS, "b")}, "b:5432/mb has a database of this broker"),
        ({B: database(UNNAMED, "a")}, "b:5432/mb has a database of this broker"),
        ({B: database(OURS, "b", "c"), C: EMPTY}, "b:5432/mb has a database of this broker; c:5432/mb has no tables"),
    ],
)
def test_what_may_be_on_a_server_that_is_away_is_waited_for(found: dict[Address, DatabaseIdentity], told: str) -> None:
    with pytest.raises(StoreUnavailable, match=f"^{told}") as failure:
        decided(found, A)
    assert "; a:5432/mb may have the messages and cannot be asked (Connection refused (111)): bring it" in str(
        failure.value
    )
    assert "take it out of the datasource's URL" in str(failure.value)


def test_different_databases_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"^a:5432/mb and b:5432/mb have different databases of this broker, of which"
    ):
        decided({A: database(OURS, "a"), B: database(8, "b"), C: EMPTY})


def test_a_key_fits_its_column() -> None:
    assert len(key("é" * 253 + ":5432").encode()) <= 255
