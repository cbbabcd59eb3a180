"""Is a declaration the same as what exists? The comparison of contract X2 and Q4, with RabbitMQ's words.

Knows names and arguments; decides nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from broker.errors import PreconditionFailed
from broker.topology.exchange import Arguments

QUEUE_ARGUMENTS: Final = (
    "x-expires",
    "x-message-ttl",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-priority",
    "x-overflow",
    "x-queue-mode",
    "x-single-active-consumer",
    "x-queue-type",
    "x-delivery-limit",
)
"""Arguments that make two queues different; all others are stored, echoed and not compared."""

_DEFAULTS: Final[Mapping[str, Any]] = {"x-queue-type": "classic"}


def require_equal(what: str, name: str, received: bool | str, current: bool | str) -> None:
    """Raise `PreconditionFailed` unless the property `name` of `what` (a resource phrase) is as it is."""
    if received != current:
        raise PreconditionFailed(
            f"inequivalent arg '{name}' for {what}: received '{_word(received)}' but current is '{_word(current)}'"
        )


def _word(value: bool | str) -> str:
    return str(value).lower() if isinstance(value, bool) else value


def require_equal_arguments(what: str, names: tuple[str, ...], received: Arguments, current: Arguments) -> None:
    """Raise `PreconditionFailed` when one of the arguments `names` differs; integers of any width are equal."""
    for name in names:
        default = _DEFAULTS.get(name)
        wanted, existing = received.values.get(name, default), current.values.get(name, default)
        if wanted != existing or isinstance(wanted, bool) != isinstance(existing, bool):
            raise PreconditionFailed(
                f"inequivalent arg '{name}' for {what}: received {_phrase(received, name)}"
                f" but current is {_phrase(current, name)}"
            )


def _phrase(arguments: Arguments, name: str) -> str:
    if name not in arguments.values:
        return "none"
    return f"the value '{arguments.values[name]}' of type '{arguments.types[name]}'"
