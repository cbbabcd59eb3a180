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
        ("jdbc:mysql://db1,db1:3306/mb", "port: an address is there twice$"),
        ("jdbc:mysql://DB1,db1/mb", "port: an address is there twice$"),
        ("postgresql+asyncpg://me@/mb?host=db1&host=db1", "port: an address is there twice$"),
        ("jdbc:mysql://db1,(db2)/mb", r"port: an address in parentheses has no host$"),
        ("jdbc:mysql://db1,address=db2/mb", r"port: an address in parentheses is \(host=HOST\)"),
        ("jdbc:mysql://db1,address=(host=db2)(type=replica)/mb", "port: a server of the type 'replica' takes no"),
        ("jdbc:mysql://address=(port=1)/mb", "port: an address in parentheses has no host$"),
        ("jdbc:mysql://db1,(host=db2)(weight=3)/mb", "port: an address in parentheses has more than host, port and"),
        ("jdbc:mysql://(host=db1,user=me,password=canary)/mb", "port: credentials of single hosts are not served"),
        ("jdbc:mysql://me:canary@db1,me:canary@db2/mb", "port: credentials of single hosts are not served"),
        ("jdbc:mysql://me@db1,me:canary@db2/mb", "port: credentials of single hosts are not served"),
        ("jdbc:mysql://db1,me:canary@db2/mb", "port: credentials of single hosts are not served"),
        ("postgresql+asyncpg://me@/mb?host=db1,db2&port=1,2,3", "port: there are more or fewer ports than hosts$"),
        ("postgresql+asyncpg://me@/mb?host=db1,", "port: between two commas, or beside one, a host is missing$"),
        ("postgresql+asyncpg://me@/mb?host=/run/postgresql", "port: a directory with a server's socket is not served"),
        ("postgresql+asyncpg://me@/mb?host=db1&port=canary", "port: a port is a number from 1 to 65535$"),
        *(
            (f"jdbc:postgresql://{hosts}/mb", "port: between two commas, or beside one, a host is missing$")
            for hosts in ("db1,", ",db1", ",,", "db1,,db2", "db1,:5433")
        ),
        *(
            (f"jdbc:postgresql://db1:{port}/mb", "port: a port is a number from 1 to 65535$")
            for port in ("0", "99999", "-1", "x", "1 2")
        ),
        *(
            (f"jdbc:postgresql://{hosts}/mb", "port: a host has letters, digits, '.', '-' and '_' only; hosts are")
            for hosts in ("db1;db2", "db1|db2", "db 1", "db1 db2", "db%201")
        ),
        ("jdbc:postgresql://::1/mb", r"port: an IPv6 address stands in brackets, as in \[::1\]:5432$"),
        ("jdbc:postgresql://db1:5432:5433/mb", "port: a host has one port, and other hosts follow behind a comma$"),
        ("jdbc:postgresql://[::1/mb", r"port: an IPv6 address stands between '\[' and '\]'"),
        ("jdbc:postgresql://[::1]5432/mb", r"port: an IPv6 address stands between '\[' and '\]'"),
        ("jdbc:postgresql://[db1]/mb", "port: what is in brackets is no IPv6 address$"),
        ("postgresql://me:can/ary@db1/mb", "an '@' behind its hosts: in a user name or a password '/', '\\?', '#'"),
        ("postgresql://me:c@n:ary/x%rd@db1/mb", "an '@' behind its hosts: in a user name or a password '/'"),
        ("postgresql://me:12/canary@db1", "an '@' behind its hosts: in a user name or a password '/'"),
        ("postgresql://me:can?ary@db1/mb", "port: in a user name or a password '/', '\\?', '#' and '@' are written"),
        ("postgresql://me:can#ary@db1/mb", "port: in a user name or a password '/', '\\?', '#' and '@' are written"),
    ],
)
def test_what_is_not_served_is_refused_with_the_reason_and_without_its_password(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as refusal:
        parse(url)
    assert "ary" not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "password"),
    [
        ("postgresql://me:p@s@db1,db2/mb", "p@s"),
        ("postgresql://me:a,b@db1,db2/mb", "a,b"),
        ("postgresql://me:p%40s%2F%3F@db1,db2/mb", "p@s/?"),
    ],
)
def test_a_password_with_a_comma_or_an_at_is_not_taken_for_another_host(url: str, password: str) -> None:
    meant = parse(url)

    assert (meant.password.get_secret_value(), meant.addresses) == (password, (("db1", 5432), ("db2", 5432)))


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
