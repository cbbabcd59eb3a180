"""Commands of the control socket that are about the process: stop it, have it read its configuration again.

Only who may open the control socket has them: over HTTP nobody stops a node.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any, Final

from broker.errors import AdministrationError, ConfigError
from broker.node.control import Command

LEVELS: Final = ("debug", "info", "warning", "error")


class ProcessCommands:
    """What the node and the command line that has started it let an administrator do."""

    def __init__(self, stop: Callable[[float | None], None]) -> None:
        """`stop` gets the seconds over which connections are closed, None for the configured ones."""
        self._stop = stop
        self.by_name: Final[dict[str, Command]] = {"shutdown": self._shut_down}

    def add(self, reload: Callable[[], None], set_level: Callable[[str], None]) -> None:
        """Serve what the command line can do: `reload`, which raises `ConfigError` or OSError, and `set_level`."""

        async def read_again(arguments: Mapping[str, Any]) -> None:
            try:
                reload()
            except (ConfigError, OSError) as error:
                raise AdministrationError(f"the node goes on with what it has: {error}") from error

        async def log_at(arguments: Mapping[str, Any]) -> None:
            level = arguments.get("level")
            if level not in LEVELS:
                raise AdministrationError(f"set_log_level: level is one of {', '.join(LEVELS)}")
            set_level(level)

        self.by_name["reload"] = read_again
        self.by_name["set_log_level"] = log_at

    async def _shut_down(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        seconds = arguments.get("seconds")
        if seconds is not None and not (isinstance(seconds, int | float) and isfinite(seconds) and seconds >= 0):
            raise AdministrationError("shutdown: seconds is a number, and not negative")
        self._stop(seconds)
        return {"pid": os.getpid()}
