"""Contract X6."""

from __future__ import annotations

import pytest

from broker.errors import AccessRefused
from tests.support.bindings import binding, exchange, matched


def test_the_default_exchange_routes_to_the_queue_of_that_name() -> None:
    subject = exchange("direct", name="")
    assert matched(subject, "orders") == [("queue", "orders")]


def test_nothing_can_be_bound_to_the_default_exchange() -> None:
    subject = exchange("direct", name="")
    with pytest.raises(AccessRefused, match="operation not permitted on the default exchange"):
        subject.check(binding())
    with pytest.raises(AccessRefused, match="operation not permitted on the default exchange"):
        subject.bind(binding())
    assert subject.is_unused
