"""The commands of an administrator over dead letter channels, by name: arguments and results are values of JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from broker.errors import AdministrationError
from broker.topology.commands import Arguments, number_of, text_of
from broker.topology.dead_letter_channels import Chosen, DeadLetterChannels, Moved

_VHOST: Final = "carbon"


class DeadLetterCommands:
    """The commands of one node."""

    def __init__(self, channels: DeadLetterChannels) -> None:
        self._channels = channels

    @property
    def by_name(self) -> Mapping[str, Callable[[Arguments], Awaitable[Any]]]:
        """Return every command."""
        return {
            "list_dead_letters": self._list,
            "restore_dead_letters": self._restore,
            "reroute_dead_letters": self._reroute,
            "delete_dead_letters": self._delete,
        }

    async def _list(self, arguments: Arguments) -> Any:
        """What waits in a channel, the oldest first."""
        after, limit = (number_of(arguments, name, default) for name, default in (("after", 0), ("limit", 100)))
        return await self._channels.listed(_vhost(arguments), _queue(arguments), after=after, limit=limit)

    async def _restore(self, arguments: Arguments) -> Any:
        return told_of_moved(await self._channels.restore(_vhost(arguments), chosen_of(arguments)))

    async def _reroute(self, arguments: Arguments) -> Any:
        target = text_of(arguments, "target")
        return told_of_moved(await self._channels.reroute(_vhost(arguments), chosen_of(arguments), target))

    async def _delete(self, arguments: Arguments) -> Any:
        return told_of_moved(await self._channels.delete(_vhost(arguments), chosen_of(arguments)))


def _vhost(arguments: Arguments) -> str:
    return text_of(arguments, "vhost") if "vhost" in arguments else _VHOST


def _queue(arguments: Arguments) -> str | None:
    return text_of(arguments, "queue") if "queue" in arguments else None


def chosen_of(arguments: Arguments) -> Chosen:
    """Return which messages are meant: some by their ids, or all if that is said. Raises `AdministrationError`."""
    ids = arguments.get("ids") or ()
    if not isinstance(ids, list | tuple) or any(not isinstance(each, int) or isinstance(each, bool) for each in ids):
        raise AdministrationError("the argument 'ids' is a list of numbers")
    if bool(ids) is (arguments.get("all") is True):
        raise AdministrationError("name messages by their ids, or say that all are meant")
    return Chosen(tuple(ids) or None, _queue(arguments))


def told_of_moved(moved: Moved) -> dict[str, Any]:
    """Return how many messages are done, how many of those that were meant are not, and why, of some of them."""
    stay = [{"id": message_id, "reason": reason} for message_id, reason in moved.reasons.items()]
    there = moved.left_elsewhere
    elsewhere = [
        {"node": node_id, "ready": ready, "unacknowledged": held} for node_id, (ready, held) in there.counts.items()
    ]
    return {
        "done": moved.count,
        "left": moved.stay,
        "reasons": stay,
        "elsewhere": elsewhere,
        "silent": list(there.silent),
    }
