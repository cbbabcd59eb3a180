"""The administrator's commands over dead letters, as the control socket gives them on."""

from __future__ import annotations

from typing import Any

import pytest

from broker.errors import AdministrationError
from broker.topology.dead_letter_commands import DeadLetterCommands
from tests.support.stage import drive
from tests.unit.topology.test_dead_letter_channels import CHANNEL, Desk


@pytest.fixture
def desk() -> Desk:
    return Desk()


def command(desk: Desk, name: str, **arguments: Any) -> Any:
    return desk.do(DeadLetterCommands(desk.channels).by_name[name](arguments))  # type: ignore[arg-type]


def test_commands_do_it_with_values_of_json(desk: Desk) -> None:
    desk.let_die("q", b"a", b"b", b"c")
    ids = [row["id"] for row in command(desk, "list_dead_letters")]
    assert command(desk, "list_dead_letters", queue="r", after=0, limit=1) == []
    assert command(desk, "restore_dead_letters", ids=[ids[0], 5]) == {
        "done": 1,
        "left": 1,
        "reasons": [{"id": 5, "reason": "it is not there"}],
        "elsewhere": [],
        "silent": [],
    }
    assert command(desk, "reroute_dead_letters", target="r", ids=[ids[1]])["done"] == 1
    assert command(desk, "delete_dead_letters", vhost="carbon", all=True)["done"] == 1
    assert desk.depths("q", "r", CHANNEL) == [1, 1, 0]


@pytest.mark.parametrize("arguments", [{}, {"ids": []}, {"ids": [1], "all": True}, {"ids": ["1"]}, {"ids": 5}])
def test_commands_want_to_know_which_messages_are_meant(desk: Desk, arguments: dict[str, Any]) -> None:
    with pytest.raises(AdministrationError):
        drive(DeadLetterCommands(desk.channels).by_name["delete_dead_letters"](arguments))  # type: ignore[arg-type]


def test_a_wrong_number_is_refused(desk: Desk) -> None:
    with pytest.raises(AdministrationError, match="'after' is a number"):
        drive(DeadLetterCommands(desk.channels).by_name["list_dead_letters"]({"after": "x"}))  # type: ignore[arg-type]
