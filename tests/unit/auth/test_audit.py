"""The audit events: one table of them, in the code and in the documentation, and nothing else is told."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from broker.auth import audit
from broker.auth.audit import AuditEvent, tell, told

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "audit.md"
_ROW = re.compile(r"^\| `([a-z.]+)` \| ([^|]+) \| (info|warning) \| ([^|]*)\|$", re.MULTILINE)
EVENTS = {name: each for name, each in vars(audit).items() if isinstance(each, AuditEvent)}
_OF_A_CLIENT = ("user", "vhost")
"""What `ConnectionContext.tell` adds."""


def test_the_documentation_lists_every_event_with_its_fields() -> None:
    listed = [
        (name, sentence, level, tuple(re.findall(r"`(\w+)`", fields)))
        for name, sentence, level, fields in _ROW.findall(PAGE.read_text(encoding="utf-8"))
    ]
    known = [
        (each.name, each.sentence, "warning" if each.is_warning else "info", each.fields) for each in EVENTS.values()
    ]
    assert listed == known


def test_names_are_unique() -> None:
    names = [each.name for each in EVENTS.values()]
    assert len(set(names)) == len(names)


@cache
def calls() -> list[tuple[str, str, tuple[str, ...]]]:
    """Every event that the broker tells: where, its name in `audit`, and the fields that are given."""
    return [call for path in sorted((ROOT / "broker").rglob("*.py")) for call in _calls_in(path)]


def _calls_in(path: Path) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if function not in ("tell", "told", "_tell_of"):
            continue
        names = [each.attr if isinstance(each, ast.Attribute) else getattr(each, "id", "") for each in node.args]
        events = [name for name in names if name in EVENTS]
        fields = tuple(keyword.arg or "*" for keyword in node.keywords)
        is_of_a_client = isinstance(node.func, ast.Attribute) and function == "tell"
        for name in events:
            given = ("queue", "messages") if function == "_tell_of" else fields
            is_whole = not is_of_a_client and function != "_tell_of"
            yield f"{path.name}:{node.lineno}", name, given if is_whole else (*_OF_A_CLIENT, *given)


def test_what_is_told_are_the_fields_of_the_event() -> None:
    assert [call for call in calls() if set(call[2]) != set(EVENTS[call[1]].fields)] == []


def test_every_event_is_told_somewhere() -> None:
    assert {name for _, name, _ in calls()} == set(EVENTS)


@pytest.mark.parametrize("name", EVENTS)
def test_no_event_has_a_field_for_secrets(name: str) -> None:
    assert not set(EVENTS[name].fields) & {
        "password",
        "password_hash",
        "secret",
        "token",
        "body",
        "value",
        "definitions",
    }


def test_an_event_is_a_line_with_its_name() -> None:
    with capture_logs() as lines:
        tell(structlog.get_logger(), audit.LOGIN_REFUSED, user="ann", mechanism="PLAIN", reason="r")
        told(audit.USER_DELETED, user="ann").to(structlog.get_logger())
    assert lines == [
        {
            "event": "login refused",
            "audit": "user.authentication.failure",
            "user": "ann",
            "mechanism": "PLAIN",
            "reason": "r",
            "log_level": "warning",
        },
        {"event": "user deleted", "audit": "user.deleted", "user": "ann", "log_level": "info"},
    ]
