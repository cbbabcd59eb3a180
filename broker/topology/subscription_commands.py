"""The commands of an administrator over subscriptions, by name: arguments and results are values of JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any

from broker.errors import AdministrationError
from broker.topology.commands import Arguments, number_of, text_of
from broker.topology.subscription_list import KINDS, SubscriptionList, WantedSubscriptions


class SubscriptionCommands:
    """The commands of one node."""

    def __init__(self, subscriptions: SubscriptionList) -> None:
        self._subscriptions = subscriptions

    @property
    def by_name(self) -> Mapping[str, Callable[[Arguments], Awaitable[Any]]]:
        """Return every command."""
        return {
            "list_subscriptions": self._list,
            "close_subscription": self._close,
            "delete_subscription": self._delete,
        }

    async def _list(self, arguments: Arguments) -> Any:
        """Subscriptions by their ids, and nodes that have not answered."""
        kind = next((each for each in KINDS if each == arguments.get("kind")), None)
        if kind is None and "kind" in arguments:
            raise AdministrationError(f"the argument 'kind' is one of {', '.join(KINDS)}")
        queue = text_of(arguments, "queue") if "queue" in arguments else None
        after = text_of(arguments, "after") if "after" in arguments else ""
        wanted = WantedSubscriptions(kind, queue, after, number_of(arguments, "limit", 100))
        found = await self._subscriptions.listed(_vhost(arguments), wanted)
        return {"subscriptions": [asdict(each) for each in found.rows], "silent": list(found.silent)}

    async def _close(self, arguments: Arguments) -> Any:
        await self._subscriptions.close(_vhost(arguments), text_of(arguments, "id"))

    async def _delete(self, arguments: Arguments) -> Any:
        return {"messages": await self._subscriptions.delete(_vhost(arguments), text_of(arguments, "name"))}


def _vhost(arguments: Arguments) -> str:
    return text_of(arguments, "vhost") if "vhost" in arguments else "carbon"
