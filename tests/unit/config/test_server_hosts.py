"""Several hosts in one URL of a database, as the drivers spell them."""

from __future__ import annotations

import pytest

from broker.config.connection_options import connection_options
from broker.config.store_url import parse

TWO = (("db1", 3306), ("db2", 3307))
TWO_OF_POSTGRESQL = (("db1", 5432), ("db2", 5433))


@pytest.mark.parametrize(
    "url",
    [
        "jdbc:mysql://db1,db2:3307/mb",
        "jdbc:mysql://db1:3306, db2:3307/mb?failOverReadOnly=false",
        "jdbc:mysql://address=(host=db1)(port=3306),address=(host=db2)(port=3307)/mb",
        "jdbc:mysql://(host=db1,port=3306),(host=db2,port=3307)/mb",
        "jdbc:mariadb:sequential://db1,db2:3307/mb",
        "jdbc:mariadb://address=(host=db1)(type=master),db2:3307/mb",
        "mysql+aiomysql://me:p%40ss@db1,db2:3307/mb",
    ],
)
def test_a_url_of_mysql_may_name_several_hosts(url: str) -> None:
    assert parse(url).addresses == TWO


@pytest.mark.parametrize(
    "url",
    [
        "jdbc:postgresql://db1,db2:5433/mb?targetServerType=primary",
        "postgresql+asyncpg://me:secret@db1:5432,db2:5433/mb",
        "postgresql+asyncpg://me:secret@/mb?host=db1&host=db2:5433",
        "postgresql+asyncpg://me:secret@/mb?host=db1,db2&port=5432,5433&target_session_attrs=read-write",
    ],
)
def test_a_url_of_postgresql_may_name_several_hosts(url: str) -> None:
    assert parse(url).addresses == TWO_OF_POSTGRESQL


def test_addresses_of_ipv6_stand_in_brackets() -> None:
    assert parse("jdbc:postgresql://[::1]:5433,[::2]/mb").addresses == (("::1", 5433), ("::2", 5432))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("jdbc:mariadb:loadbalance://db1,db2/mb", "mode 'loadbalance' is not served: the broker writes to one server"),
        ("jdbc:mysql:loadbalance://db1,db2/mb", "mode 'loadbalance' is not served: the broker writes to one server"),
        ("jdbc:mariadb:failover://db1,db2/mb", "mode 'failover' is not served: the broker writes to one server"),
        ("jdbc:mysql:replication://db1,db2/mb", "mode 'replication' is not served: the broker reads what it has just"),
        ("jdbc:mariadb:aurora://db1/mb", "mode 'aurora' is not served: it is not known"),
        ("jdbc:mysql://db1,db1:3306/mb", "has no usable host and port"),
        ("jdbc:mysql://db1,(db2)/mb", "has no usable host and port"),
        ("jdbc:mysql://db1,address=(host=db2)(type=replica)/mb", "has no usable host and port"),
        ("jdbc:mysql://address=(port=1)/mb", "has no usable host and port"),
        ("jdbc:mysql://db1,(host=db2)(weight=3)/mb", "has no usable host and port"),
        ("postgresql+asyncpg://me@/mb?host=db1,db2&port=1,2,3", "has no usable host and port"),
    ],
)
def test_what_is_not_served_is_refused_with_the_reason(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse(url)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("jdbc:postgresql://a,b/mb?targetServerType=secondary", "'secondary' is a server that takes no writes; use"),
        ("jdbc:postgresql://a,b/mb?targetServerType=preferSecondary", "'preferSecondary' is a server that takes no"),
        ("postgresql://a,b/mb?target_session_attrs=standby", "'standby' is a server that takes no writes; use primary"),
        ("jdbc:postgresql://a,b/mb?targetServerType=fastest", "'fastest' is not one of primary, any"),
        ("jdbc:postgresql://a,b/mb?loadBalanceHosts=true", "'loadBalanceHosts' is not served: the broker reads and"),
        ("jdbc:mysql://a,b/mb?roundRobinLoadBalance=true", "'roundRobinLoadBalance' is not served: the broker reads"),
    ],
)
def test_parameters_that_ask_for_other_servers_are_refused(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        connection_options(parse(url))


@pytest.mark.parametrize(
    "query", ["targetServerType=any", "targetServerType=master&loadBalanceHosts=false", "target_session_attrs=primary"]
)
def test_parameters_that_ask_for_the_server_that_takes_writes_are_served(query: str) -> None:
    assert connection_options(parse(f"jdbc:postgresql://a,b/mb?{query}"))[1] == []


def test_how_soon_a_driver_would_try_a_server_again_has_no_effect() -> None:
    (warning,) = connection_options(parse("jdbc:mysql://a,b/mb?secondsBeforeRetryMaster=30"))[1]

    assert warning.startswith("parameter 'secondsBeforeRetryMaster' has no effect: a new connection tries the server")
