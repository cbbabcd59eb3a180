"""Host names: one lookup for a name at a time, in threads of its own, that is not lost with who has asked."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest

from broker.machine.host_names import KEPT, HostNames, UnknownName, connect, look_up
from tests.support.clock import FakeClock


class Dns:
    """Answers each lookup when it is told to, in the thread that has asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, Sequence[str] | Exception] = {}
        self._may_answer = threading.Condition()

    def __call__(self, host: str) -> Sequence[str]:
        with self._may_answer:
            self.asked.append(host)
            self._may_answer.notify_all()
            self._may_answer.wait_for(lambda: host in self.answers, 10.0)
            answer = self.answers.get(host, OSError("nobody has answered"))
        if isinstance(answer, Exception):
            raise answer
        return answer

    def answer(self, host: str, answer: Sequence[str] | Exception) -> None:
        with self._may_answer:
            self.answers[host] = answer
            self._may_answer.notify_all()

    def end(self) -> None:
        for host in self.asked:
            self.answer(host, self.answers.get(host, ()))


class Names(HostNames):
    """Names, the DNS that they ask, and the clock."""

    def __init__(self, *, most_lookups: int = 4) -> None:
        self.dns, self.clock = Dns(), FakeClock()
        self._heard = asyncio.Event()
        super().__init__(self.dns, self.clock.monotonic, most_lookups=most_lookups)

    def _on_answer(self, host: str, found: tuple[str, ...], reason: str) -> None:
        super()._on_answer(host, found, reason)
        self._heard.set()

    async def has_answer(self) -> None:
        """Return when the DNS has answered once more."""
        self._heard.clear()
        await self._heard.wait()

    async def asked(self, host: str) -> asyncio.Task[Sequence[str]]:
        task = asyncio.ensure_future(self.addresses(host))  # noqa: TID251
        await asyncio.sleep(0)
        return task


def run(main: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(10.0):
            await main

    asyncio.run(bounded())


def test_an_address_is_its_own_and_nobody_is_asked() -> None:
    names = Names()

    async def main() -> None:
        assert await names.addresses("192.0.2.7") == ("192.0.2.7",)
        assert await names.addresses("::1") == ("::1",)
        assert names.dns.asked == []

    run(main())


def test_callers_that_give_up_and_ask_again_share_one_lookup_and_its_answer() -> None:
    names = Names()

    async def main() -> None:
        for _ in range(20):
            task = await names.asked("mq1.example")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert names.is_waiting_for("mq1.example")
        task = await names.asked("mq1.example")
        names.dns.answer("mq1.example", ["192.0.2.1", "192.0.2.2", "192.0.2.1"])
        assert await task == ("192.0.2.1", "192.0.2.2")
        assert names.dns.asked == ["mq1.example"]
        assert not names.is_waiting_for("mq1.example")

    run(main())


def test_names_that_nobody_answers_keep_nothing_else_from_being_resolved() -> None:
    names = Names(most_lookups=32)

    async def main() -> None:
        for number in range(40):
            (await names.asked(f"mq{number}.example")).cancel()
        assert await asyncio.get_running_loop().getaddrinfo("localhost", 5432)
        assert len(names.dns.asked) <= 32
        names.dns.end()

    run(main())


def test_a_name_waits_for_its_turn_when_all_lookups_are_under_way() -> None:
    names = Names(most_lookups=1)

    async def main() -> None:
        first, second = await names.asked("a.example"), await names.asked("b.example")
        names.dns.answer("b.example", ["192.0.2.2"])
        names.dns.answer("a.example", ["192.0.2.1"])
        assert (await first, await second) == (("192.0.2.1",), ("192.0.2.2",))
        assert names.dns.asked == ["a.example", "b.example"]

    run(main())


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
        (UnicodeError("label empty or too long"), "label empty or too long"),
    ],
)
def test_a_failure_counts_for_a_while_too(error: Exception, reason: str) -> None:
    names = Names()
    names.dns.answer("mq1.example", error)

    async def main() -> None:
        for _ in range(3):
            with pytest.raises(UnknownName, match=f"the name 'mq1.example' is not resolved: {reason}"):
                await names.addresses("mq1.example")
        assert names.dns.asked == ["mq1.example"]
        names.clock.advance(KEPT)
        names.dns.answer("mq1.example", ["192.0.2.1"])
        with pytest.raises(UnknownName):  # it is being asked again meanwhile
            await names.addresses("mq1.example")
        await names.has_answer()
        assert await names.addresses("mq1.example") == ("192.0.2.1",)

    run(main())


def test_what_was_found_stands_while_it_is_asked_again_and_when_that_fails() -> None:
    names = Names()
    names.dns.answer("mq1.example", ["192.0.2.1"])

    async def main() -> None:
        await names.addresses("mq1.example")
        names.dns.answer("mq1.example", OSError("the DNS is away"))
        for _ in range(3):
            names.clock.advance(KEPT)
            assert await names.addresses("mq1.example") == ("192.0.2.1",)
            await names.has_answer()
        assert len(names.dns.asked) == 4
        with pytest.raises(UnknownName, match="is not resolved: the DNS is away"):
            await names.check("mq1.example")
        await names.check("192.0.2.7")

    run(main())


def test_a_connection_goes_to_the_first_address_that_accepts() -> None:
    names = Names()

    async def main() -> None:
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        names.dns.answer("mq1.example", ["127.0.0.2", "127.0.0.1"])
        protocol = await connect(names, asyncio.Protocol, "mq1.example", port)
        assert isinstance(protocol, asyncio.Protocol)
        names.dns.answer("mq2.example", ["127.0.0.2"])
        with pytest.raises(ConnectionRefusedError):
            await connect(names, asyncio.Protocol, "mq2.example", port)
        server.close()

    run(main())


def test_the_system_knows_localhost() -> None:
    assert {"127.0.0.1", "::1"} & set(look_up("localhost"))
