"""Which names a command suggests for one that is not there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from broker.cli.alike import names_alike, place_of
from broker.cli.failure import EX_UNAVAILABLE, CommandFailure


class KnownNames:
    """A node that has these names of any kind, or answers otherwise."""

    name = "known"
    is_local = True
    silent = ""

    def __init__(self, *names: str, status: int = 200, is_paged: bool = True) -> None:
        self.asked: list[str] = []
        self._status = status
        rows = [{"name": name} for name in names]
        self._body = json.dumps({"items": rows} if is_paged else rows)

    def request(
        self, method: str, path: str, query: Mapping[str, str], body: str, headers: Mapping[str, str]
    ) -> tuple[int, str]:
        self.asked.append(path)
        return self._status, self._body

    def command(self, name: str, arguments: Mapping[str, Any]) -> Any:
        raise AssertionError("names are no commands")


class Away(KnownNames):
    """A node that does not answer any more."""

    def request(
        self, method: str, path: str, query: Mapping[str, str], body: str, headers: Mapping[str, str]
    ) -> tuple[int, str]:
        raise CommandFailure(EX_UNAVAILABLE, "away")


@pytest.mark.parametrize(
    ("what", "path"),
    [
        ("queue 'order' in vhost 'a b'", "/queues/a%20b"),
        ("exchange 'order' in vhost 'a b'", "/exchanges/a%20b"),
        ("user 'order'", "/users"),
        ("virtual host 'order'", "/vhosts"),
        ("connection 'order'", "/connections"),
        ("stream 'order' in virtual host 'a b'", "/queues/a%20b"),
    ],
)
def test_names_of_the_same_kind_are_looked_at(what: str, path: str) -> None:
    assert place_of("a b", what) == f"{path}/order"
    node = KnownNames("other", "orders", "x")
    assert (names_alike(node, "a b", what), node.asked) == (["orders", "other"], [path])


def test_a_list_without_pages_has_names_too() -> None:
    assert names_alike(KnownNames("ann", is_paged=False), "/", "user 'anne'") == ["ann"]


@pytest.mark.parametrize(
    ("node", "what"),
    [
        (KnownNames("x"), "redrive 7"),
        (KnownNames("x"), "queue 'orders' in vhost '/'"),
        (KnownNames("orders", status=404), "queue 'order' in vhost 'nope'"),
        (Away(), "user 'ann'"),
    ],
)
def test_there_need_be_no_name_that_is_like_it(node: KnownNames, what: str) -> None:
    assert names_alike(node, "/", what) == []
