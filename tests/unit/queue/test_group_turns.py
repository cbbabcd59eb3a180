"""Which group's turn it is; how groups behave as a whole: tests/property/test_groups.py."""

from __future__ import annotations

from typing import Any

from broker.codec.field_table import FieldTable
from broker.codec.properties import BasicProperties, encode_header
from broker.message import STORED, Message, tail
from broker.queue.dispatcher import Dispatcher
from broker.queue.group_turns import GroupTurns
from broker.queue.settings import QueueLimits
from broker.queue.window import Window


def message(message_id: int, group: str = "a") -> Message:
    queue: Any = None
    header = tail(encode_header(0, BasicProperties(headers=FieldTable.of({"x-group-id": group}))))
    return Message(message_id, queue, b"\0\0", header, b"", None, STORED)


def test_what_comes_back_after_everything_was_looked_at_anew_is_there_once() -> None:
    nothing: Any = None
    window, turns = Window(7, 0, QueueLimits(), nothing), GroupTurns(Dispatcher(), 1)
    window.append(message(1))
    taken = turns.take_next(window)
    assert taken is not None
    turns.forget_places()
    turns.look(window)  # finds nothing: the message is out
    turns.bring_back(window, [taken])
    assert turns.take_next(window) is taken
    turns.release([taken])
    assert turns.take_next(window) is None
