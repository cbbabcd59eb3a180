"""Which store a datasource gets, and what is said when its driver is not there."""

from __future__ import annotations

import sys

import pytest

from broker.config.datasources import PoolConfiguration
from broker.errors import ConfigError
from broker.store.server.opening import server_store
from broker.store.server.store import ServerStore


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("jdbc:mysql://db.example.org/mb?user=broker&password=secret", "db.example.org:3306/mb"),
        ("jdbc:mariadb://db.example.org:3307/mb", "db.example.org:3307/mb"),
        ("mysql+aiomysql://broker:secret@db.example.org/mb", "db.example.org:3306/mb"),
        ("jdbc:postgresql://db.example.org/mb?user=broker&password=secret", "db.example.org:5432/mb"),
        ("postgresql+asyncpg://broker:secret@db.example.org:6432/mb", "db.example.org:6432/mb"),
    ],
)
def test_a_url_names_server_and_database_and_no_secret(url: str, place: str) -> None:
    assert server_store(PoolConfiguration(url=url)).describe() == place


@pytest.mark.parametrize(
    ("url", "module", "driver", "advice"),
    [
        (
            "jdbc:mariadb://db.example.org/mb",
            "broker.store.server.mysql",
            "aiomysql",
            r"^MariaDB and MySQL need the package aiomysql \(.*\): pip install aiomysql$",
        ),
        (
            "jdbc:postgresql://db.example.org/mb",
            "broker.store.server.postgresql",
            "asyncpg",
            r"^PostgreSQL needs the package asyncpg \(.*\): pip install 'cordillera\[postgres\]'$",
        ),
    ],
)
def test_a_driver_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, url: str, module: str, driver: str, advice: str
) -> None:
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, driver, None)  # an import of it fails as if it were not there

    with pytest.raises(ConfigError, match=advice):
        server_store(PoolConfiguration(url=url))


def test_no_connection_is_made_before_the_store_is_opened() -> None:
    pool = PoolConfiguration(url="jdbc:postgresql://nowhere.invalid/mb")

    assert isinstance(server_store(pool), ServerStore)
