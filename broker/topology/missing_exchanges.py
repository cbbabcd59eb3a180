"""Exchanges that a policy names and that are not there: what would go to them goes nowhere, and nobody else says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from broker.topology.namespace import Namespace

_NAMES: Final = {
    "dead-letter-exchange": "dead letters of its queues are lost",
    "alternate-exchange": "what its exchanges cannot route is lost",
}
"""The keys that name an exchange, and what becomes of messages without it."""


def policy_warnings(vhost: Namespace, definition: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each exchange that a definition names and that is not there."""
    return [
        f"there is no {vhost.phrase('exchange', name)}: {effect}"
        for key, effect in _NAMES.items()
        if isinstance(name := definition.get(key), str) and name not in vhost.exchanges
    ]
