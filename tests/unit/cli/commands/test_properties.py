"""Properties as command lines say them."""

from __future__ import annotations

import json

from broker.cli.commands.properties import properties_of
from tests.support.command_line import CommandLine
from tests.unit.cli.test_program import brokerctl as brokerctl


def test_dashes_are_underscores_and_texts_stay_as_they_are_written() -> None:
    given = ["message-id=1e3", "correlation_id=9", 'type="7"', "app-id=true", "priority=3", "timestamp=1767225600"]
    assert properties_of(given) == {
        "message_id": "1e3",
        "correlation_id": "9",
        "type": "7",
        "app_id": "true",
        "priority": 3,
        "timestamp": 1767225600,
    }


def test_headers_have_the_types_of_json(brokerctl: CommandLine) -> None:
    brokerctl("pub orders hi --header n=7 --header 't=\"7\"' --header word=7a --property message-id=m1")
    properties = json.loads(brokerctl("get orders --count 2 --json").out)[1]["properties"]
    assert properties["headers"] == {"n": 7, "t": "7", "word": "7a"}
    assert properties["message_id"] == "m1"
