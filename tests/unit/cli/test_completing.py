"""Names that a shell completes: those the node has, and none where something is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click
import pytest

from broker.cli.completing import names_of
from broker.cli.failure import EX_UNAVAILABLE, CommandFailure
from broker.cli.session import CommandSession

PARAMETER = click.Argument(["name"])


class Answering:
    """A node that answers with one thing."""

    name = "answering"
    is_local = True

    silent = ""

    def __init__(self, status: int, value: Any) -> None:
        self.asked: list[tuple[str, Mapping[str, str]]] = []
        self._answer = status, json.dumps(value)

    def request(
        self, method: str, path: str, query: Mapping[str, str], body: str, headers: Mapping[str, str]
    ) -> tuple[int, str]:
        self.asked.append((path, query))
        return self._answer

    def command(self, name: str, arguments: Mapping[str, Any]) -> Any:
        raise AssertionError(name)


def offered(session: CommandSession | None, kind: str, begin: str) -> list[str]:
    context = click.Context(click.Command("x"), obj=session)
    return [item.value for item in names_of(kind)(context, PARAMETER, begin)]


def test_a_page_of_names_is_asked_for_and_those_that_begin_so_are_offered() -> None:
    way = Answering(200, {"items": [{"name": "orders"}, {"name": "old-orders"}, {"name": "or else"}]})
    session = CommandSession({}, lambda wanted: way, given_vhost="a/b")
    assert offered(session, "queues", "or") == ["or else", "orders"]
    [(path, query)] = way.asked
    assert (path, query["name"], query["page_size"]) == ("/queues/a%2Fb", "or", "100")
    assert session.wanted.timeout == 0.5


@pytest.mark.parametrize(("status", "value"), [(404, {"error": "x"}), (200, []), (503, None)])
def test_an_answer_without_names_offers_none(status: int, value: Any) -> None:
    way = Answering(status, value)
    assert offered(CommandSession({}, lambda wanted: way), "users", "") == []


def test_a_node_that_is_away_offers_none() -> None:
    def away(wanted: object) -> Any:
        raise CommandFailure(EX_UNAVAILABLE, "no node answers")

    assert offered(CommandSession({}, away), "vhosts", "") == []
    assert offered(None, "vhosts", "") == []
