"""A TCP proxy that misbehaves as networks do: refuses, hangs, delays, and cuts at a chosen statement.

Knows bytes and sockets; must not know the protocol that passes through. It lives in a thread with an event loop of its
own, so tests may be synchronous or not.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from benchmarks.nodes.ports import quiet_port
from tests.support.proxy_link import Link

HOST = "127.0.0.1"
CONTROL_DEADLINE = 10.0


@dataclass(slots=True)
class Cut:
    """Cut connections when a client sends `pattern`, in lower case, before or after the server has got it."""

    pattern: bytes
    is_after: bool
    times: int

    def ends_in(self, tail: bytes, data: bytes) -> bool:
        """Whether the pattern ends within `data`, which follows `tail`."""
        overlap = len(self.pattern) - 1
        return self.pattern in tail[max(0, len(tail) - overlap) :] + data.lower()


class Proxy:
    """Listens on `port` and passes everything on to `target_port`, until it is told otherwise.

    A target that refuses looks to the client like a connection that is reset at once.
    """

    host = HOST

    def __init__(self, target_port: int) -> None:
        self.port = quiet_port()
        self.delay = 0.0  # seconds for each chunk and direction; what is under way keeps the delay it began with
        self.cuts = 0  # connections that a pattern has cut
        self.is_hanging = False
        self.links: set[Link] = set()
        self.transports: set[asyncio.Transport] = set()
        self._target_port = target_port
        self._cut: Cut | None = None
        self._listener: asyncio.Server | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()
        assert self._ready.wait(CONTROL_DEADLINE), "the proxy did not start"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def connections(self) -> int:
        """How many clients are connected now."""
        return len(self.links)

    def cut(self) -> None:
        """Reset all connections now, both sides; new ones are served."""
        self._do(self._reset_all())

    def refuse(self) -> None:
        """Stop listening: new connections are refused; those that are open stay."""
        self._do(self._stop_listening())

    def lead_to(self, target_port: int) -> None:
        """Pass new connections on to another port."""
        self._target_port = target_port

    def accept(self) -> None:
        """Listen again."""
        self._do(self._listen())

    def hang(self) -> None:
        """Pass nothing on in either direction; open connections stay and new ones are made."""
        self._do(self._set_hanging(True))

    def resume(self) -> None:
        """Pass on everything that `hang` has held back."""
        self._do(self._set_hanging(False))

    def cut_before(self, pattern: bytes, times: int = 1) -> None:
        """Reset the next `times` connections that send `pattern`, and do not pass on what completes it."""
        self._do(self._arm(Cut(pattern.lower(), is_after=False, times=times)))

    def cut_after(self, pattern: bytes, times: int = 1) -> None:
        """Pass `pattern` on and reset the client before an answer; the server's side ends when it has answered."""
        self._do(self._arm(Cut(pattern.lower(), is_after=True, times=times)))

    def close(self) -> None:
        """Reset all connections and end."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join(CONTROL_DEADLINE)

    def cut_for(self, tail: bytes, data: bytes) -> Cut | None:
        """Return the cut that `data` of a client calls for after `tail`, and count it; called by links."""
        cut = self._cut
        if cut is None or not cut.ends_in(tail, data):
            return None
        cut.times -= 1
        if cut.times == 0:
            self._cut = None
        self.cuts += 1
        return cut

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._closing = asyncio.Event()
        async with asyncio.TaskGroup() as self._connecting:
            await self._listen()
            self._ready.set()
            await self._closing.wait()
            await self._stop_listening()
            await self._reset_all()

    async def _listen(self) -> None:
        if self._listener is None:
            self._listener = await self._loop.create_server(self._new_client, HOST, self.port)

    async def _stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _new_client(self) -> asyncio.Protocol:
        link = Link(self)
        link.connecting = self._connecting.create_task(link.connect(HOST, self._target_port))
        return link.client

    async def _reset_all(self) -> None:
        for link in tuple(self.links):
            link.reset()
        for transport in tuple(self.transports):
            transport.abort()

    async def _set_hanging(self, is_hanging: bool) -> None:
        self.is_hanging = is_hanging
        for link in tuple(self.links):
            link.go_on()

    async def _arm(self, cut: Cut) -> None:
        self._cut = cut

    def _do(self, step: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(step, self._loop).result(CONTROL_DEADLINE)
