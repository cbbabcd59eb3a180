from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from broker.config.store_url import StoreUrl, parse, with_parameters


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("jdbc:sqlite:./broker-data/mb.db", "broker-data/mb.db"),
        ("jdbc:sqlite:/var/lib/mb.db", "/var/lib/mb.db"),
        ("jdbc:sqlite:file:/var/lib/mb.db?journal_mode=WAL", "/var/lib/mb.db"),
        ("jdbc:h2:./repository/database/WSO2MB_DB;DB_CLOSE_ON_EXIT=FALSE", "repository/database/WSO2MB_DB.db"),
        ("jdbc:h2:file:/data/MB", "/data/MB.db"),
        ("sqlite:///x.db", "x.db"),
        ("sqlite:////var/lib/x.db", "/var/lib/x.db"),
        ("sqlite+aiosqlite:///x%20y.db", "x y.db"),
    ],
)
def test_embedded_urls_name_a_file(url, path):
    store = parse(url)
    assert (store.engine, store.path) == ("sqlite", Path(path))


def test_a_tilde_is_the_home_folder():
    assert parse("jdbc:h2:~/MB").path == Path.home() / "MB.db"


@pytest.mark.parametrize(
    "url", ["jdbc:sqlite::memory:", "jdbc:h2:mem:test;DB_CLOSE_DELAY=-1", "sqlite://", "sqlite:///:memory:"]
)
def test_memory_urls_name_no_file(url):
    store = parse(url)
    assert (store.engine, store.path) == ("memory", None)


@pytest.mark.parametrize(
    ("url", "engine", "host", "port", "database"),
    [
        ("jdbc:mysql://db:3307/wso2_mb", "mysql", "db", 3307, "wso2_mb"),
        ("jdbc:mysql:///wso2_mb", "mysql", "localhost", 3306, "wso2_mb"),
        ("jdbc:mariadb://[::1]/wso2_mb", "mysql", "::1", 3306, "wso2_mb"),
        ("jdbc:postgresql://db/wso2_mb", "postgresql", "db", 5432, "wso2_mb"),
        ("jdbc:postgresql:wso2_mb", "postgresql", "localhost", 5432, "wso2_mb"),
        ("mysql+aiomysql://db/wso2_mb", "mysql", "db", 3306, "wso2_mb"),
        ("postgresql+asyncpg://db:5433/wso2_mb", "postgresql", "db", 5433, "wso2_mb"),
        ("postgres://db/wso2_mb", "postgresql", "db", 5432, "wso2_mb"),
    ],
)
def test_server_urls_name_host_port_and_database(url, engine, host, port, database):
    store = parse(url)
    assert (store.engine, store.host, store.port, store.database) == (engine, host, port, database)


def test_parameters_are_kept():
    store = parse("jdbc:mysql://db/mb?autoReconnect=true&useSSL=false&characterEncoding=UTF-8")
    assert store.parameters == {"autoReconnect": "true", "useSSL": "false", "characterEncoding": "UTF-8"}


@pytest.mark.parametrize(
    "url", ["mysql+aiomysql://me:p%40ss@db/mb", "jdbc:mysql://db/mb?user=me&password=p%40ss", "jdbc:mysql://db/mb"]
)
def test_credentials_come_from_the_url_or_from_beside_it(url):
    store = parse(url, "me", SecretStr("p@ss"))
    assert (store.user_name, store.password.get_secret_value()) == ("me", "p@ss")
    assert store.parameters == {}


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("jdbc:oracle:thin:@db:1521/xe", "is not a database of this broker; use jdbc:sqlite:, jdbc:h2:"),
        ("", "is not a database of this broker"),
        ("mb.db", "is not a database of this broker"),
        ("jdbc:sqlite:", "names no file"),
        ("jdbc:h2:", "names no file"),
        ("jdbc:h2:tcp://db/mb", "is an H2 server; only jdbc:h2: with a file or mem: can be embedded"),
        ("jdbc:mysql://db", "names no database"),
        ("jdbc:mysql://db:port/mb", "has no usable host and port"),
        ("jdbc:mysql://[::1/mb", "has no usable host and port"),
    ],
)
def test_an_unusable_url_is_refused(url, reason):
    with pytest.raises(ValueError, match=rf"^'.*' {reason}"):
        parse(url)


def test_of_a_database_that_is_not_served_only_the_kind_is_told():
    with pytest.raises(ValueError, match=r"^'jdbc:oracle:\*+' is not a database"):
        parse("jdbc:oracle:thin:@db:1521/xe")


@pytest.mark.parametrize(
    "url",
    [
        "mysql+aiomysql://me:canary@db",
        "jdbc:oracle:thin:@db?password=canary",
        "mysql://me:can@ary@db:port/x",
        "jdbc:mysql://db:port/mb?user=me&password=canary;x",
        "jdbc:oracle:thin:me/canary@db:1521:x",
        "jdbc:oracle:thin:me/canary@//db:1521/x",
        "jdbc:sqlserver://db;user=me;Pasword=canary",
        "jdbc:db2://db:50000/mb:user=me;password=canary;",
        "jdbc:mysql:me/canary@//db/mb",
        "jdbc:mysql://me:ca nary@db",
        "jdbc:mysql://do/main:canary@db/mb",
        "jdbc:mysql://db:port/mb?pasword=canary",
        "jdbc:mysql://db:port/mb?x=canary",
        "jdbc:h2:tcp://db/mb;PASSWORT=canary",
        "jdbc:h2:;CIPHER=canary",
        "canary",
        "me:canary@db",
    ],
)
def test_a_refused_url_does_not_give_its_password_away(url):
    with pytest.raises(ValueError, match=r"^'") as failure:
        parse(url)
    assert "canary" not in str(failure.value)
    assert "ary@" not in str(failure.value)


def test_a_store_url_keeps_its_password_out_of_its_text():
    assert "canary" not in repr(StoreUrl("mysql", host="db", password=SecretStr("canary")))


def test_properties_of_the_connection_are_parameters_and_those_of_the_url_win():
    url = with_parameters(parse("jdbc:mysql://db/mb?useSSL=false"), " usessl=true; connectTimeout = 5000 ;;")
    assert url.parameters == {"useSSL": "false", "connectTimeout": "5000"}


@pytest.mark.parametrize("properties", ["canary", "Password=canary", "useSSL=true;user=canary"])
def test_properties_of_the_connection_without_a_value_or_with_a_login_are_refused(properties: str):
    with pytest.raises(ValueError, match="NAME=VALUE;NAME=VALUE") as refused:
        with_parameters(parse("jdbc:mysql://db/mb"), properties)
    assert "canary" not in str(refused.value)
