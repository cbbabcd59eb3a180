"""The commands of an administrator over delayed messages, by name: arguments and results are values of JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from broker.codec.delivery_time import moment_in
from broker.codec.expiration import LATEST
from broker.errors import AdministrationError
from broker.topology.commands import Arguments, number_of, text_of
from broker.topology.schedules import BUSY, FIRED, GONE, ScheduleChange, Schedules, WantedDelayed


class ScheduleCommands:
    """The commands of one node."""

    def __init__(self, schedules: Schedules) -> None:
        self._schedules = schedules

    @property
    def by_name(self) -> Mapping[str, Callable[[Arguments], Awaitable[Any]]]:
        """Return every command."""
        return {
            "count_delayed": self._count,
            "list_delayed": self._list,
            "cancel_delayed": self._cancel,
            "move_delayed": self._move,
        }

    async def _count(self, arguments: Arguments) -> Any:
        """How many messages wait in each virtual host."""
        return self._schedules.waiting()

    async def _list(self, arguments: Arguments) -> Any:
        """What waits in a virtual host, what is due first first; `after` is the `next` of the page before."""
        after, limit = _place(arguments.get("after")), number_of(arguments, "limit", 100)
        texts = {name: text_of(arguments, name, may_be_empty=True) for name in _TEXTS if name in arguments}
        wanted = WantedDelayed(**texts, until=number_of(arguments, "until", LATEST))
        page = await self._schedules.listed(_vhost(arguments), wanted, after=after, limit=limit)
        following = page.following
        return {"items": page.rows, "next": None if following is None else f"{following[0]}-{following[1]}"}

    async def _cancel(self, arguments: Arguments) -> Any:
        vhost = _vhost(arguments)
        return _told(await self._schedules.cancel(vhost, await self._ids(vhost, arguments)))

    async def _move(self, arguments: Arguments) -> Any:
        vhost = _vhost(arguments)
        due = self._due(arguments)
        return _told(await self._schedules.move(vhost, await self._ids(vhost, arguments), due))

    def _due(self, arguments: Arguments) -> int:
        """Return the time that is meant: a moment, or so many milliseconds from now."""
        given = [name for name in ("deliver_at", "delay") if arguments.get(name) is not None]
        if len(given) != 1:
            raise AdministrationError("say the new time: 'deliver_at', a moment, or 'delay', milliseconds from now")
        if given == ["delay"]:
            return self._schedules.now_ms + max(number_of(arguments, "delay", 0), 0)
        try:
            return moment_in(arguments["deliver_at"])
        except (ValueError, OverflowError) as error:
            raise AdministrationError(f"the argument 'deliver_at': {error}") from None

    async def _ids(self, vhost: str, arguments: Arguments) -> list[int]:
        """Return which messages are meant: by their ids, or by the `message_id` that their publisher gave them."""
        ids, message_id = arguments.get("ids"), arguments.get("message_id")
        if (ids is None) is (message_id is None):
            raise AdministrationError("name messages by their 'ids', or by their 'message_id'")
        if message_id is not None:
            return await self._schedules.find(vhost, text_of(arguments, "message_id"))
        if not isinstance(ids, list | tuple) or any(
            not isinstance(each, int) or isinstance(each, bool) for each in ids
        ):
            raise AdministrationError("the argument 'ids' is a list of numbers")
        return list(ids)


_TEXTS = ("exchange", "routing_key", "message_id")


def _vhost(arguments: Arguments) -> str:
    return text_of(arguments, "vhost") if "vhost" in arguments else "/"


def _place(text: Any) -> tuple[int, int]:
    """Return the place in the list that a page has ended with."""
    if text in (None, ""):
        return (0, 0)
    due, _, message_id = str(text).partition("-")
    if not (due.isascii() and due.isdecimal() and message_id.isascii() and message_id.isdecimal() and len(due) < 20):
        raise AdministrationError("the argument 'after' is the 'next' of the page before")
    return min(int(due), LATEST), min(int(message_id[:19]), LATEST)


def _told(changes: Mapping[int, ScheduleChange]) -> dict[str, Any]:
    """Return how many messages are done, how many are not, and what has become of each."""
    left = sum(change.outcome in (FIRED, GONE, BUSY) for change in changes.values())
    results = [
        {"id": message_id, "outcome": change.outcome} | ({"new_id": change.new_id} if change.new_id else {})
        for message_id, change in changes.items()
    ]
    return {"done": len(changes) - left, "left": left, "results": results}
