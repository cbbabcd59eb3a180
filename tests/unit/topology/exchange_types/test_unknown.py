from __future__ import annotations

import pytest

from broker.codec.field_table import EMPTY_TABLE
from broker.errors import PreconditionFailed
from broker.topology.binding import Binding
from broker.topology.exchange_types.unknown import UnknownRouter
from broker.topology.routed_message import ANY_MESSAGE
from broker.turn_budget import TurnBudget


def test_a_type_that_is_unknown_routes_nothing_and_refuses_new_bindings() -> None:
    router = UnknownRouter("x", "its type 'x-future' is unknown")
    bound = Binding("x", ("queue", "q"), "k", EMPTY_TABLE)

    router.add(bound)

    assert list(router.match("k", ANY_MESSAGE, TurnBudget())) == []
    with pytest.raises(PreconditionFailed, match="exchange 'x': its type 'x-future' is unknown"):
        router.check(bound)
    router.remove(bound)
