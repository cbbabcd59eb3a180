"""A client that changes the topology all the time, for faults of the store; part of a storm.

Knows which queues there must be in the end; must not know what happens meanwhile.
"""

from __future__ import annotations

import threading
from contextlib import closing

from pamqp import commands

from tests.support.wire import Wire

KEEP = 5
PAUSE = 0.02


class Declarer:
    """Declares a durable queue, binds it and deletes it, over and over on one connection; it keeps each fifth queue."""

    def __init__(self, host: str, port: int) -> None:
        self.kept: list[str] = []
        self._address = (host, port)
        self._failure: BaseException | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="declarer", daemon=True)
        self._thread.start()

    def stop(self, deadline: float = 60.0) -> None:
        """Finish what is under way; raises what went wrong on the way."""
        self._stopping.set()
        self._thread.join(deadline)
        assert not self._thread.is_alive(), f"a change of topology has no answer {deadline} s after the last"
        if self._failure is not None:
            raise self._failure

    def missing(self) -> list[str]:
        """Return which of the kept queues the broker does not have; for a look after the end."""
        with closing(Wire(*self._address)) as wire:
            for queue in self.kept:
                try:
                    wire.call(commands.Queue.Declare(queue=queue, passive=True), commands.Queue.DeclareOk)
                except ConnectionAbortedError as error:
                    return [f"{queue}: {error}"]
            return []

    def _run(self) -> None:
        try:
            with closing(Wire(*self._address)) as wire:
                number = 0
                while not self._stopping.wait(PAUSE):
                    number += 1
                    self._change(wire, f"declared.{number}", is_kept=number % KEEP == 0)
        except BaseException as error:
            self._failure = error

    def _change(self, wire: Wire, queue: str, *, is_kept: bool) -> None:
        wire.call(commands.Queue.Declare(queue=queue, durable=True), commands.Queue.DeclareOk)
        bind = commands.Queue.Bind(queue=queue, exchange="amq.direct", routing_key=queue)
        wire.call(bind, commands.Queue.BindOk)
        if is_kept:
            self.kept.append(queue)
        else:
            wire.call(commands.Queue.Delete(queue=queue), commands.Queue.DeleteOk)
