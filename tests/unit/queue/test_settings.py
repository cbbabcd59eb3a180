"""What the arguments of a queue ask for."""

from __future__ import annotations

import pytest

from broker.codec.field_table import EMPTY_TABLE, FieldTable
from broker.queue.settings import QueueSettings


def test_a_queue_without_arguments_has_no_single_active_consumer() -> None:
    assert not QueueSettings.of(EMPTY_TABLE).single_active_consumer


@pytest.mark.parametrize(("value", "is_single"), [(True, True), (False, False), (1, False)])
def test_only_true_asks_for_a_single_active_consumer(value: object, is_single: bool) -> None:
    arguments = FieldTable.of({"x-single-active-consumer": value})
    assert QueueSettings.of(arguments).single_active_consumer is is_single
