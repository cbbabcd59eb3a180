"""How it is shown what an import of definitions would change."""

from __future__ import annotations

from typing import Any

from broker.cli.difference import difference


def changed(there: dict[str, Any], given: dict[str, Any]) -> list[str]:
    """Return the lines of the difference without those around it."""
    return [line.replace(" ", "") for line in difference(there, given) if line[0] in "+-" and "  " in line]


def test_what_is_there_as_it_is_given_is_no_difference() -> None:
    queue = {"vhost": "/", "name": "q", "durable": True, "arguments": {"a": 1}}
    assert list(difference({"queues": [queue]}, {"queues": [{"name": "q", "vhost": "/", "durable": True}]})) == []


def test_what_is_new_and_what_changes_is_shown() -> None:
    there = {"exchanges": [{"vhost": "/", "name": "e", "type": "topic"}]}
    given = {"exchanges": [{"vhost": "/", "name": "e", "type": "fanout"}], "vhosts": [{"name": "new"}]}
    assert {'-"type":"topic",', '+"type":"fanout",', '+"name":"new"'} <= set(changed(there, given))


def test_bindings_differ_by_all_that_they_have() -> None:
    binding = {"vhost": "/", "source": "e", "destination": "q", "destination_type": "queue", "routing_key": "a"}
    there = {"bindings": [{**binding, "arguments": {}}]}
    assert changed(there, {"bindings": [{**binding, "arguments": {}}]}) == []
    assert '+"routing_key":"b",' in changed(there, {"bindings": [{**binding, "routing_key": "b", "arguments": {}}]})


def test_no_hash_is_shown_and_tags_are_the_same_in_both_forms() -> None:
    there = {"users": [{"name": "ann", "password_hash": "abc", "tags": ["monitoring"]}]}
    same = {"users": [{"name": "ann", "password_hash": "abc", "tags": "monitoring"}]}
    assert list(difference(there, same)) == []
    other = {"users": [{"name": "ann", "password_hash": "def"}, {"name": "bob", "password": "secret"}]}
    lines = changed(there, other)
    assert {'-"password_hash":"(ahash)",', '+"password_hash":"(anotherhash)",', '+"password":"(apassword)"'} <= set(
        lines
    )
    assert "secret" not in "".join(lines)


def test_what_are_no_definitions_has_no_difference() -> None:
    assert list(difference({}, {"queues": ["x", 7], "users": None})) == []
