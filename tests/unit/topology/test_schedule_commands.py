"""The administrator's commands over delayed messages, as the control socket gives them on."""

from __future__ import annotations

from typing import Any

import pytest

from broker.errors import AdministrationError
from broker.topology.schedule_commands import ScheduleCommands
from tests.support.stage import drive
from tests.unit.topology.test_schedules import NOW, Desk


@pytest.fixture
def desk() -> Desk:
    return Desk()


def command(desk: Desk, name: str, **arguments: Any) -> Any:
    return desk.do(ScheduleCommands(desk.schedules).by_name[name](arguments))  # type: ignore[arg-type]


def test_commands_do_it_with_values_of_json(desk: Desk) -> None:
    desk.delay(1000, 2000, 3000)
    assert command(desk, "count_delayed")[0] == {"vhost": "/", "messages": 3}
    page = command(desk, "list_delayed", vhost="/", limit=2)
    assert [row["message_id"] for row in page["items"]] == ["m-1000", "m-2000"]
    rest = command(desk, "list_delayed", after=page["next"])
    assert ([row["message_id"] for row in rest["items"]], rest["next"]) == (["m-3000"], None)
    first, second = (row["id"] for row in page["items"])
    assert command(desk, "cancel_delayed", ids=[first, 5]) == {
        "done": 1,
        "left": 1,
        "results": [{"id": first, "outcome": "cancelled"}, {"id": 5, "outcome": "gone"}],
    }
    moved = command(desk, "move_delayed", ids=[second], delay=60_000)
    assert (moved["done"], moved["results"][0]["outcome"]) == (1, "moved")
    moved = command(desk, "move_delayed", message_id="m-3000", deliver_at="2027-01-15T08:00:30Z")
    assert [row["due_ms"] - NOW for row in command(desk, "list_delayed")["items"]] == [30_000, 60_000]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("cancel_delayed", {}),
        ("cancel_delayed", {"ids": [1], "message_id": "m"}),
        ("cancel_delayed", {"ids": ["1"]}),
        ("cancel_delayed", {"ids": 5}),
        ("move_delayed", {"ids": [1]}),
        ("move_delayed", {"ids": [1], "delay": 1, "deliver_at": 1}),
        ("move_delayed", {"ids": [1], "delay": "1"}),
        ("move_delayed", {"ids": [1], "deliver_at": "soon"}),
        ("list_delayed", {"after": "x"}),
        ("list_delayed", {"limit": "x"}),
        ("list_delayed", {"exchange": 5}),
    ],
)
def test_what_is_not_said_well_is_refused(desk: Desk, name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(AdministrationError):
        drive(ScheduleCommands(desk.schedules).by_name[name](arguments))  # type: ignore[arg-type]
