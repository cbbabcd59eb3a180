"""What this broker says in scripted sessions, beside what RabbitMQ said: all the same but for reviewed differences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.differential import live
from tests.differential.differences import NOT_SHOWN, REASONS, reason_for
from tests.differential.ours import OwnWire
from tests.differential.recorded import OURS, RABBITMQ, load
from tests.differential.sessions import SESSIONS
from tests.differential.talk import Session

THEIRS, OUR_OWN = load(RABBITMQ), load(OURS)
_CONTRACT = Path(__file__).parents[2] / "docs" / "contract.md"
_ROW = re.compile(r"^\| ((?:G|C|H|X|E|Q|F|L|B|P|T|N|U)\d+) \|", re.MULTILINE)


@pytest.mark.parametrize("session", SESSIONS, ids=[session.name for session in SESSIONS])
def test_it_is_said_as_recorded(session: Session) -> None:
    expected = OUR_OWN.get(session.name) or THEIRS[session.name]
    assert session.run(OwnWire()).lines == expected


def test_every_difference_has_a_reason() -> None:
    differing = {name for name in OUR_OWN if OUR_OWN[name] != THEIRS[name]}
    assert differing == set(OUR_OWN), "what does not differ is recorded once"
    assert [name for name in differing if reason_for(name) is None] == []


def test_every_reason_is_that_of_a_difference() -> None:
    used = {reason_for(name) for name in OUR_OWN}
    assert [reason for reason in REASONS if reason not in used] == []


def test_sessions_have_names_of_their_own_and_are_all_recorded() -> None:
    names = [session.name for session in SESSIONS]
    assert len(set(names)) == len(names) >= 300
    assert set(THEIRS) == set(names)


def test_every_row_that_a_client_can_see_is_shown() -> None:
    rows = set(_ROW.findall(_CONTRACT.read_text(encoding="utf-8")))
    shown = {row for session in SESSIONS for row in session.rows}
    assert shown <= rows
    assert rows - shown == set(NOT_SHOWN)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of RabbitMQ, if it is installed."""
    if not live.is_installed():
        pytest.skip("RabbitMQ is not installed")
    with live.rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as port:
        yield port


@pytest.mark.slow
def test_rabbitmq_says_what_was_recorded(server: int) -> None:
    """What depends on how busy the machine is gets a second try."""
    changed = [session for session in SESSIONS if live.run(session, server) != THEIRS[session.name]]
    again = {session.name: live.run(session, server) for session in changed}
    assert {name: lines for name, lines in again.items() if lines != THEIRS[name]} == {}
