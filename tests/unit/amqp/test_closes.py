"""What a peer is told of errors that are none of AMQP's own."""

from __future__ import annotations

import pytest

from broker.amqp.closes import fault_of
from broker.errors import ConnectionForced, Evicted, InternalError, PreconditionFailed, StoreUnavailable
from broker.ports.peer_calls import Unavailable


@pytest.mark.parametrize(
    ("error", "fault", "text"),
    [
        (StoreUnavailable("10.0.0.1 is away"), InternalError, "the store is unavailable, try again later"),
        (Evicted("n"), ConnectionForced, "the node has left the cluster and begins anew"),
        (Unavailable("n did not purge queue 'q' in time"), PreconditionFailed, "n did not purge queue 'q' in time"),
    ],
)
def test_errors_of_the_store_and_of_other_nodes_are_told_in_their_words(
    error: Exception, fault: type[Exception], text: str
) -> None:
    found = fault_of(error)
    assert type(found) is fault
    assert text in str(found)


def test_nothing_is_told_of_a_bug() -> None:
    assert fault_of(KeyError("secret")) is None
