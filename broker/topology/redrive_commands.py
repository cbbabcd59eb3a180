"""The commands of an administrator over redrives, by name: arguments and results are values of JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from broker.errors import AdministrationError
from broker.topology.commands import Arguments, number_of, text_of
from broker.topology.redriving import MOST, Redrives, RedriveWish, told_reasons


class RedriveCommands:
    """The commands of one node."""

    def __init__(self, redrives: Redrives) -> None:
        self._redrives = redrives

    @property
    def by_name(self) -> Mapping[str, Callable[[Arguments], Awaitable[Any]]]:
        """Return every command."""
        return {"redrive_queue": self._start, "show_redrive": self._show, "undo_redrive": self._undo}

    async def _start(self, arguments: Arguments) -> Any:
        """Move messages back to where they died, or to `target`; with `dry_run` tell how many would move, and why
        others would stay.
        """
        limit = number_of(arguments, "limit", MOST)
        if not 0 < limit <= MOST:
            raise AdministrationError(f"the argument 'limit' is from 1 to {MOST}")
        rate = arguments.get("rate")
        if rate is not None and (isinstance(rate, bool) or not isinstance(rate, int | float) or not rate > 0):
            raise AdministrationError("the argument 'rate' is a number of messages per second")
        where, target = (text_of(arguments, name) if arguments.get(name) else "" for name in ("where", "target"))
        wish = RedriveWish(text_of(arguments, "vhost"), text_of(arguments, "queue"), where, target, limit, rate)
        if arguments.get("dry_run") is True:
            found = await self._redrives.forecast(wish)
            stay = {"would_stay": found.stay, "reasons": told_reasons(found)} if found.stay else {}
            return {"would_move": found.count, **stay}
        return self._redrives.start(wish).told()

    async def _show(self, arguments: Arguments) -> Any:
        """How far an operation is."""
        return self._redrives.operation(number_of(arguments, "id", 0)).told()

    async def _undo(self, arguments: Arguments) -> Any:
        """Put back what an operation has moved, as far as it is still ready."""
        return self._redrives.undo(number_of(arguments, "id", 0)).told()
