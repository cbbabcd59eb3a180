"""Secrets are not shown, however they are named and wherever they stand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from broker.config.connection_options import ConnectionOptions, _mysql, _postgresql
from broker.config.masking import SHOWN, mask, mask_all
from broker.config.url_parameters import UrlParameters


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (
            "mysql://me:canary@db/mb?ssl=1&password=canary&x=y",
            "mysql://me:********@db/mb?ssl=1&password=********&x=********",
        ),
        ("jdbc:mysql://db/mb?useSSL=false&pasword=canary", "jdbc:mysql://db/mb?useSSL=false&pasword=********"),
        ("jdbc:mysql://db/mb?p%61ssword=canary", "jdbc:mysql://db/mb?p%61ssword=********"),
        ("jdbc:h2:./mb;DB_CLOSE_ON_EXIT=FALSE;PW=canary", "jdbc:h2:./mb;DB_CLOSE_ON_EXIT=FALSE;PW=********"),
        ("mysql://me:can@ary@db/mb", "mysql://me:********@db/mb"),
        ("mysql://do/main:can ary@db/mb", "mysql://do/main:********@db/mb"),
        ("me@jdbc:mysql://me:canary@db/x", "me@jdbc:mysql://me:********@db/x"),
        ("jdbc:sqlite:./a.db", "jdbc:sqlite:./a.db"),
        ("jdbc:oracle:thin:me/canary@db:1521:x", "jdbc:oracle:********"),
        ("me@jdbc:db2://db:50000/mb:password=canary;", "me@jdbc:db2:********"),
        ("jdbc:mysql:me/canary@//db/mb", "jdbc:mysql:********"),
        ("https://localhost:9443/services/", "https://localhost:9443/services/"),
        ("jdbc:mysql://db/mb?empty=", "jdbc:mysql://db/mb?empty="),
        ("a=b;c=d", "a=b;c=d"),
        ("/srv/key.pem", "/srv/key.pem"),
    ],
)
def test_a_url_is_shown_with_its_secrets_masked(url: str, shown: str) -> None:
    assert mask(url) == shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("jdbc:oracle:thin:me/canary@db:1521:x", "jdbc:oracle:********"),
        ("mongodb://me:canary@db", "mongodb:********"),
        ("canary", "********"),
        ("", ""),
    ],
)
def test_of_a_url_that_nobody_understands_the_kind_is_shown(url: str, shown: str) -> None:
    assert mask_all(url) == shown


@pytest.mark.parametrize("options_of", [_mysql, _postgresql])
def test_every_parameter_that_has_an_effect_is_shown(
    options_of: Callable[[UrlParameters], ConnectionOptions],
) -> None:
    parameters = UrlParameters({})
    options_of(parameters)
    asked = {name.lower() for name in parameters._known} - {"connectionattributes"}
    assert asked
    assert asked <= SHOWN


def test_no_parameter_that_is_shown_has_the_name_of_a_secret() -> None:
    assert [name for name in SHOWN if any(part in name for part in ("pass", "pwd", "secret", "token"))] == []
