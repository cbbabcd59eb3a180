"""What `python -m broker admin` prints. What its commands do is in `tests/integration/test_admin.py`."""

from __future__ import annotations

import pytest

from broker.node.admin_command import EX_FAILED, EX_OK, parser, show_import, show_subscriptions


def test_an_import_prints_changes_and_beside_them_what_was_not_made(capsys: pytest.CaptureFixture[str]) -> None:
    result = {"changes": ["user 'ann'"], "left_out": ["queue 'amq.gen-1'"], "problems": []}
    assert show_import(result) == EX_OK
    assert capsys.readouterr() == ("user 'ann'\n", "left out: queue 'amq.gen-1'\n")


def test_a_dry_run_with_problems_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert show_import({"changes": [], "left_out": [], "problems": ["users[0]: no name"]}) == EX_FAILED
    assert capsys.readouterr() == ("", "cannot be made: users[0]: no name\n")


def test_an_import_that_changes_nothing_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert show_import({"changes": [], "left_out": [], "problems": []}) == EX_OK
    assert capsys.readouterr() == ("", "")


def test_a_list_shows_names_that_clients_chose_in_one_line_and_says_who_is_missing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = {"subscriptions": [{"id": "carbon:\n\x1b[31m@", "queue": "carbon:\u202e"}], "silent": ["b\r"]}
    assert show_subscriptions(result) == EX_OK
    shown, beside = capsys.readouterr()
    assert shown == "id=carbon:\\n\\x1b[31m@\tqueue=carbon:\\u202e\n"
    assert beside == "node 'b\\r' has not answered: its consumers are one line for each queue\n"


@pytest.mark.parametrize(
    ("line", "given"),
    [
        ("list-delayed --until 5", {"until": 5, "limit": 100, "after": None, "exchange": None, "routing_key": None}),
        ("cancel-delayed 5 6", {"ids": [5, 6]}),
        ("cancel-delayed --vhost v --message-id m", {"vhost": "v", "message_id": "m"}),
        ("move-delayed 5 --delay 0", {"ids": [5], "delay": 0, "deliver_at": None}),
        ("move-delayed 5 --at 2030-01-01", {"ids": [5], "delay": None, "deliver_at": "2030-01-01"}),
    ],
)
def test_delayed_messages_are_named_by_ids_or_by_their_publishers(line: str, given: dict[str, object]) -> None:
    options = vars(parser().parse_args(line.split()))
    known = {"config": None, "json": False, "command": line.split()[0], "vhost": "/", "message_id": None}
    assert options == {**known, **given}


@pytest.mark.parametrize(
    ("line", "given"),
    [
        ("list-dead-letters --queue q --after 7", {"queue": "q", "after": 7, "limit": 100}),
        ("restore-dead-letters 5 6", {"queue": None, "ids": [5, 6], "all": False}),
        ("reroute-dead-letters other --all --queue q", {"queue": "q", "ids": [], "all": True, "target": "other"}),
        ("delete-dead-letters --vhost other 5", {"queue": None, "ids": [5], "all": False, "vhost": "other"}),
    ],
)
def test_dead_letters_are_named_by_ids_or_all(line: str, given: dict[str, object]) -> None:
    options = vars(parser().parse_args(line.split()))
    known = {"config": None, "json": False, "command": line.split()[0], "vhost": "carbon"}
    assert options == {**known, **given}
