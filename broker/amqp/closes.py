"""What the peer is told of an error."""

from __future__ import annotations

from typing import Final

from broker.codec import methods as amqp
from broker.errors import (
    AmqpError,
    ConnectionForced,
    ContentExpected,
    CoordinationError,
    Evicted,
    FrameFault,
    InternalError,
    PreconditionFailed,
    StoreUnavailable,
    StoreWentBack,
    UnexpectedFrame,
)

STORE_AWAY: Final = "the store is unavailable, try again later"
_BASIC_PUBLISH: Final = amqp.BasicPublish.index


def fault_of(error: Exception) -> AmqpError | None:
    """Return the fault that stands for `error`; None for a bug, of which the peer learns nothing."""
    if isinstance(error, AmqpError):
        return error
    if isinstance(error, StoreUnavailable):
        return InternalError(STORE_AWAY)
    if isinstance(error, StoreWentBack):
        return ConnectionForced(str(error))
    if isinstance(error, Evicted):
        return ConnectionForced("the node has left the cluster and begins anew")
    if isinstance(error, CoordinationError):
        return PreconditionFailed(str(error))
    return None


def method_at_fault(fault: AmqpError, method: int, *, is_on_channel: bool) -> tuple[int, int]:
    """Return class and method id for a close. `method` is the index of what was handled, 0 if it is not known."""
    if isinstance(fault, FrameFault):
        method = 0  # no method is at fault (contract G3)
    elif isinstance(fault, ContentExpected):
        method = _BASIC_PUBLISH
    elif not method and is_on_channel and not isinstance(fault, UnexpectedFrame):
        method = _BASIC_PUBLISH  # what else a header or a body can lead to is an error of its publish
    return method >> 16, method & 0xFFFF
