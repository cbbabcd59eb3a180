"""Messages for selectors: the content header of a message with these headers and properties."""

from __future__ import annotations

from typing import Any

from broker.codec.field_table import FieldTable
from broker.codec.properties import BasicProperties, encode_header
from broker.selector.message_view import MessageView
from broker.selector.selector import Selector


def view(headers: dict[str, Any] | None = None, *, redelivered: int = 0, **properties: Any) -> MessageView:
    """Return what selectors see of a message."""
    table = None if headers is None else FieldTable.of(headers)
    return MessageView(encode_header(0, BasicProperties(headers=table, **properties)), redelivered)


def truth(condition: str, values: Any) -> bool | None:
    """Return the value of a condition as it shows: TRUE when it matches, FALSE when its opposite does, else UNKNOWN."""
    found, opposite = Selector(condition).matches(values), Selector(f"NOT ({condition})").matches(values)
    assert not (found and opposite), condition
    return True if found else False if opposite else None
