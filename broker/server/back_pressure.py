"""Holds publishers back while something is short: journal room, memory, disk, the store (contract C15, U11)."""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

_log = structlog.get_logger(__name__)


class PublisherSocket(Protocol):
    """The socket of a client that may publish."""

    def expect_alarm(self, *, is_near: bool) -> None:
        """Begin the alarm at the next frame that carries a message; unless `is_near`, do not any more."""
        ...

    def begin_alarm(self, reason: str) -> None:
        """Stop reading, and tell the client why."""
        ...

    def end_alarm(self) -> None:
        """Read again, and tell the client so."""
        ...

    def resume_publishing(self) -> None:
        """Read again: the journal has room."""
        ...


class BackPressure:
    """Why publishers must wait, and which of them do."""

    def __init__(self) -> None:
        self.alarm = ""
        """Why publishers are blocked at their next publish, in RabbitMQ's words; empty when they are not."""
        self.is_store_away = False
        self.waiting: set[PublisherSocket] = set()
        """Publishers that are not read until the journal has room."""
        self.blocked: set[PublisherSocket] = set()
        """Publishers that are not read until no alarm is left."""
        self._sockets: set[PublisherSocket] = set()
        self._alarms: dict[str, str] = {}
        self._is_full = self._is_over = False
        self._room: list[asyncio.Future[None]] = []

    @property
    def is_memory_short(self) -> bool:
        """Is memory among what is short?"""
        return "memory" in self.alarm

    def add(self, socket: PublisherSocket) -> None:
        """There is another socket, which may publish."""
        self._sockets.add(socket)
        if self.alarm:
            socket.expect_alarm(is_near=True)

    def remove(self, socket: PublisherSocket) -> None:
        """The socket is gone."""
        self._sockets.discard(socket)
        self.forget(socket)

    def forget(self, socket: PublisherSocket) -> None:
        """Nobody publishes by this socket any more."""
        self.waiting.discard(socket)
        self.blocked.discard(socket)

    def on_journal_full(self, is_full: bool) -> None:
        """The journal has filled up, or has room again: then the publishers that wait for it go on."""
        self._is_full = is_full
        self._wake()
        if not is_full:
            waiting, self.waiting = self.waiting, set()
            for socket in waiting:
                socket.resume_publishing()

    def set_alarm(self, source: str, reason: str) -> None:
        """Block publishers at their next publish for `reason`; with "" let them go on if no other source has one."""
        if reason == self._alarms.get(source, ""):
            return
        self._alarms[source] = reason
        had_alarm, self.alarm = bool(self.alarm), "; ".join(filter(None, self._alarms.values()))
        if had_alarm != bool(self.alarm):
            for socket in self._sockets:
                socket.expect_alarm(is_near=not had_alarm)
        if self.alarm:
            _log.warning("publishers are blocked", reason=self.alarm)
            for socket in self.waiting:  # not read already, so they have no next publish
                socket.begin_alarm(self.alarm)
        else:
            _log.info("publishers go on")
            blocked, self.blocked = self.blocked, set()
            for socket in blocked:
                socket.end_alarm()
            self._wake()

    async def room(self) -> None:
        """Return when neither an alarm nor a full journal holds publishers back."""
        while self._has_no_room:
            woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._room.append(woken)
            await woken

    @property
    def _has_no_room(self) -> bool:
        return not self._is_over and (bool(self.alarm) or self._is_full)

    def end(self) -> None:
        """The server stops: nobody waits for room any more, and what was begun is finished."""
        self._is_over = True
        self._wake()

    def _wake(self) -> None:
        if not self._has_no_room:
            room, self._room = self._room, []
            for woken in room:
                if not woken.done():
                    woken.set_result(None)

    def on_store_state(self, reason: str) -> None:
        """The store is away for `reason`, or with "" it is there again."""
        self.is_store_away = bool(reason)
        self.set_alarm("store", reason)
