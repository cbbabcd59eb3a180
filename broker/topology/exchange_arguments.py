"""The arguments of exchange.declare about de-duplication: what they may hold (docs/deduplication.md).

The texts are those of RabbitMQ's community plugin, where it has some.
"""

from __future__ import annotations

from typing import Final

from broker.codec.field_table import FieldTable
from broker.errors import PreconditionFailed
from broker.queue.deduplication import EXCHANGE_TYPE, PROPERTIES, count
from broker.queue.values import MAX_TIME
from broker.queue.wanted_values import TIME

_SIZE: Final = "x-cache-size"
_WINDOW: Final = "x-dedup-window"
_TIMES: Final = (_WINDOW, "x-cache-ttl")


def check(exchange_type: str, arguments: FieldTable) -> None:
    """Raise `PreconditionFailed` if an exchange of this type cannot leave out duplicates as these arguments say."""
    values = arguments.values
    is_type = exchange_type == EXCHANGE_TYPE
    if not isinstance(values.get(EXCHANGE_TYPE, False), bool):
        raise PreconditionFailed(f"Invalid argument, '{EXCHANGE_TYPE}' must be a boolean")
    if not (is_type or values.get(EXCHANGE_TYPE) or _WINDOW in values):
        return
    for name in _TIMES:
        if name in values and not count(values[name], MAX_TIME):
            unit = f": {TIME} is needed" if name == _WINDOW else ""
            raise PreconditionFailed(f"Invalid argument, '{name}' must be an integer greater than 0{unit}")
    if (_SIZE in values or (is_type and _WINDOW not in values)) and not count(values.get(_SIZE)):
        raise PreconditionFailed(f"Missing or invalid argument, '{_SIZE}' must be an integer greater than 0")
    if values.get("x-cache-persistence", "disk") not in ("disk", "memory"):
        raise PreconditionFailed("Invalid argument, 'x-cache-persistence' must be either 'disk' or 'memory'")
    header = values.get("x-deduplication-header", "x-dedup-id")
    if not (isinstance(header, str) and header):
        raise PreconditionFailed("Invalid argument, 'x-deduplication-header' must be the name of a header")
    if values.get("x-deduplication-property", PROPERTIES[0]) not in PROPERTIES:
        raise PreconditionFailed(f"Invalid argument, 'x-deduplication-property' must be one of {', '.join(PROPERTIES)}")
    if not any(name in values for name in (_SIZE, *_TIMES)):
        raise PreconditionFailed(
            f"Missing argument, '{EXCHANGE_TYPE}' of an exchange needs one of '{_WINDOW}', 'x-cache-ttl', '{_SIZE}':"
            " an exchange does not know how long a message is in a queue"
        )
