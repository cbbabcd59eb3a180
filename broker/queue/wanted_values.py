"""What is said of a wrong value of an argument that RabbitMQ does not have: what is allowed, and in which unit.

Of those that RabbitMQ has the texts are RabbitMQ's (`topology/queue_arguments.py`).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from broker.queue.deduplication import PROPERTIES
from broker.queue.settings import LEAST_RATE, MAX_NAME, MAX_TIME, MOST_RATE

BOOLEAN: Final = "true or false"
TIME: Final = f"a time in milliseconds, 1 to {MAX_TIME},"
COUNT: Final = "a whole number from 1 on"
RATE: Final = f"a number of messages per second, {LEAST_RATE:f} to {MOST_RATE:.0f},"
HEADER: Final = f"the name of a header, 1 to {MAX_NAME} octets,"
PROPERTY: Final = " or ".join(PROPERTIES)
PERSISTENCE: Final = "disk or memory"
_MOST: Final = 60


def not_wanted(wanted: str, kind: str, value: Any) -> str:
    """Return a phrase for a value of a type (RabbitMQ's name) that is not what is wanted."""
    return f"{wanted} is needed, not {_shown(kind, value)}"


def _shown(kind: str, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return repr(value[:_MOST])
    return str(value)[:_MOST] if isinstance(value, int | float | Decimal) else f"a value of the type {kind}"
