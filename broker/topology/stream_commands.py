"""The commands of an administrator over streams, by name: arguments and results are values of JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from broker.codec.delivery_time import moment_in
from broker.errors import AdministrationError
from broker.queue.stream_cursor import Since
from broker.queue.values import age_in_ms
from broker.topology.commands import Arguments, number_of, text_of
from broker.topology.stream_replay import MOST, ReplayWish, StreamReplays

_END: Final = 1 << 63
"""Behind the last offset that a stream may have."""


class StreamCommands:
    """The commands of one node."""

    def __init__(self, streams: StreamReplays) -> None:
        self._streams = streams

    @property
    def by_name(self) -> Mapping[str, Callable[[Arguments], Awaitable[Any]]]:
        """Return every command."""
        return {
            "show_stream": self._show,
            "replay_stream": self._replay,
            "forget_stream_place": self._forget,
        }

    async def _show(self, arguments: Arguments) -> Any:
        """Which offsets a stream has, and where the consumers are whose places are kept."""
        return await self._streams.show(_vhost(arguments), text_of(arguments, "stream"))

    async def _replay(self, arguments: Arguments) -> Any:
        """Put copies of messages into the queue `destination`, from one place up to another."""
        limit = number_of(arguments, "limit", MOST)
        if not 0 < limit <= MOST:
            raise AdministrationError(f"the argument 'limit' is from 1 to {MOST}")
        start, until = (self._place(arguments, name) for name in ("from", "to"))
        value = text_of(arguments, "filter") if arguments.get("filter") is not None else None
        wish = ReplayWish(0 if start is None else start, until, value, limit)
        names = text_of(arguments, "stream"), text_of(arguments, "destination")
        done = await self._streams.replay(_vhost(arguments), *names, wish)
        return {"messages": done.messages, "next": done.next}

    async def _forget(self, arguments: Arguments) -> Any:
        """Forget the place of a consumer."""
        names = text_of(arguments, "stream"), text_of(arguments, "consumer")
        return {"forgotten": await self._streams.forget_place(_vhost(arguments), *names)}

    def _place(self, arguments: Arguments, name: str) -> int | Since | None:
        """Return an offset, or a time: an age such as `2h`, or one of ISO 8601."""
        value = arguments.get(name)
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _END:
            return value
        if isinstance(value, str) and not (value.isdecimal() and (len(value) > 19 or int(value) >= _END)):
            if value.isascii() and value.isdecimal():
                return int(value)
            age = age_in_ms(value)
            if age is not None:
                return Since(max(self._streams.now_ms - age, 0))
            try:
                return Since(moment_in(value))
            except (ValueError, OverflowError):
                pass
        raise AdministrationError(f"the argument '{name}' is an offset, an age such as '2h', or a time of ISO 8601")


def _vhost(arguments: Arguments) -> str:
    return text_of(arguments, "vhost") if "vhost" in arguments else "/"
