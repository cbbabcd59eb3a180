"""Nodes that meet over sockets: who proves the secret is seen, and nobody else learns or changes anything."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from broker.clock import SystemClock
from broker.coordination.peering.calls import MemberCalls, PeerRefused
from broker.coordination.peering.frames import frame
from broker.coordination.peering.greeting import Address, ClusterTerms, encode
from broker.coordination.peering.link import LinkLost, PeerLink
from broker.coordination.peering.security import PeerSecurity, encrypted, plain
from broker.coordination.peering.view import Detector, PeerView
from broker.machine.host_names import HostNames
from broker.machine.listener import Room
from broker.ports.cluster_rows import Incarnation
from broker.ports.peer_calls import Unauthorized
from broker.thrift.secret import SharedSecret

SECRET = SharedSecret("0123456789abcdef")
OTHER = SharedSecret("fedcba9876543210")
DETECTOR = Detector(0.02, 2.0)
HOST = "127.0.0.1"


def bound(address: Address = (HOST, 0)) -> socket.socket:
    found = socket.socket()
    found.bind(address)
    found.listen()
    found.setblocking(False)
    return found


class Node:
    """One node on loopback."""

    def __init__(
        self,
        name: str,
        tasks: asyncio.TaskGroup,
        security: PeerSecurity,
        well_known: list[Address],
        domain: str = "d",
        room: Room | None = None,
        detector: Detector = DETECTOR,
        at: Address = (HOST, 0),
        names: HostNames | None = None,
    ) -> None:
        self.socket = bound(at)
        self.address: Address = self.socket.getsockname()
        clock = SystemClock()
        self.view = PeerView(
            Incarnation(name, f"{name}-1"),
            self.address,
            (HOST, ord(name)),
            ClusterTerms(domain, 1),
            well_known,
            detector,
            may_lead=lambda: True,
            jitter=lambda: 1.0,
            now=clock.monotonic(),
        )
        self.changed = asyncio.Event()
        self.calls = MemberCalls(
            self.view, detector, security, clock, tasks, room or Room(), on_change=self.changed.set, names=names
        )
        self.calls.listen([self.socket])
        self.task = tasks.create_task(self.calls.run())

    @property
    def seen(self) -> str:
        return "".join(sorted(member.node_id for member in self.view.members()))

    async def sees(self, names: str) -> None:
        """Return when this node sees these."""
        while self.seen != names:
            self.changed.clear()
            await self.changed.wait()

    async def is_refused(self) -> str:
        """Return why a call of this node was refused, when one was."""
        while not (refusals := self.view.refusals()):
            self.changed.clear()
            await self.changed.wait()
        return next(iter(refusals.values()))

    def close(self) -> None:
        self.task.cancel()
        self.calls.close()
        self.socket.close()


@asynccontextmanager
async def nodes(
    *securities: PeerSecurity,
    domains: str = "ddd",
    room: Room | None = None,
    silences: Sequence[float] = (DETECTOR.silence,) * 3,
) -> AsyncIterator[list[Node]]:
    """Nodes a, b and so on; each knows of the first."""
    async with asyncio.TaskGroup() as tasks:
        made: list[Node] = []
        for number, security in enumerate(securities):
            known = [made[0].address] if made else []
            detector = Detector(DETECTOR.interval, silences[number])
            made.append(Node("abc"[number], tasks, security, known, domains[number], room, detector))
        try:
            yield made
        finally:
            for node in made:
                node.close()


def run(main: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20.0):
            await main
            for _ in range(10):
                await asyncio.sleep(0)  # closed transports end in a later turn

    asyncio.run(bounded())


@pytest.mark.parametrize("security", [lambda: plain(None), lambda: plain(SECRET), lambda: encrypted(SECRET)])
def test_nodes_that_have_the_same_secret_see_each_other_also_those_that_no_list_names(security: Any) -> None:
    async def main() -> None:
        async with nodes(security(), security(), security()) as (a, b, c):
            for node, others in ((a, "bc"), (b, "ac"), (c, "ab")):
                await node.sees(others)
            c.close()
            await b.calls.first_round()

    run(main())


@pytest.mark.parametrize(
    ("here", "there", "reason"),
    [
        (plain(SECRET), plain(OTHER), "the shared secret is another one"),
        (plain(SECRET), plain(None), "the first message must be a challenge: this node has a shared secret"),
        (plain(None), plain(SECRET), "this node has no shared secret; the caller has one"),
        (encrypted(SECRET), encrypted(OTHER), "the shared secret is another one"),
    ],
)
def test_nodes_with_different_secrets_do_not_see_each_other_and_say_so(
    here: PeerSecurity, there: PeerSecurity, reason: str
) -> None:
    async def main() -> None:
        with capture_logs() as logs:
            async with nodes(here, there) as (a, b):
                await b.calls.first_round()  # who has not proved the secret keeps nobody from starting
                assert (a.seen, b.seen, b.view.refusals()) == ("", "", {})
        assert {"event": "a peer is not authorized", "reason": reason} in [
            {name: line.get(name) for name in ("event", "reason")} for line in logs
        ]
        (told,) = [line for line in logs if line["event"] == "A node is not taken for a member"]
        assert told["reason"].startswith("it has not proved the cluster's secret")
        assert told["reason"].endswith(f"it says: {reason}")

    run(main())


def test_nodes_of_two_domains_do_not_join_and_name_both() -> None:
    async def main() -> None:
        async with nodes(plain(SECRET), plain(SECRET), domains="de") as (a, b):
            assert await b.is_refused() == "domain: 'e' on node 'b', 'd' on node 'a'"
            assert (a.seen, b.seen) == ("", "")

    run(main())


def test_a_proof_is_of_no_use_to_one_that_stands_between_two_nodes() -> None:
    """Who ends TLS in the middle has another certificate, which the proof names."""
    between = encrypted(OTHER)

    async def main() -> None:
        async with nodes(encrypted(SECRET)) as (a,):

            async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                there, back = await asyncio.open_connection(*a.address, ssl=between.client)

                async def passed(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
                    while data := await source.read(1000):
                        target.write(data)
                    target.close()

                await asyncio.gather(passed(reader, back), passed(there, writer))

            server = await asyncio.start_server(relay, HOST, 0, ssl=between.server)
            address = server.sockets[0].getsockname()
            with pytest.raises(Unauthorized, match="the shared secret is another one"):
                await PeerLink.open(*address, encrypted(SECRET), HostNames())
            server.close()

    run(main())


def test_what_was_recorded_is_of_no_use_on_another_connection() -> None:
    sent: list[bytes] = []

    class Recorded(PeerLink):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            write = transport.write
            self._transport = type(
                "",
                (),
                {
                    "write": lambda _, data: (sent.append(data), write(data)),
                    "get_extra_info": lambda _, name: None,
                    "abort": lambda _: transport.abort(),
                },
            )()

    async def main() -> None:
        async with nodes(plain(SECRET)) as (a,):
            link = await Recorded.open(*a.address, plain(SECRET), HostNames())
            link.close()
            reader, writer = await asyncio.open_connection(*a.address)
            for message in sent:
                writer.write(message)
            answers = await reader.read()
            assert b'"nonce"' in answers
            assert b'{"unauthorized":"the shared secret is another one"}' in answers
            writer.close()

    run(main())


STRANGE = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"\0\0\0\1{",
    b"\xff" * 100,
    frame(b"[]"),
    frame(b'{"greeting":{}}'),
    frame(b'{"challenge":"zz"}'),
    frame(b'{"challenge":7}'),
    frame(b'{"proof":"00"}'),
    frame(b'{"challenge":"' + b"00" * 32 + b'"}') + frame(b'{"proof":"' + b"00" * 32 + b'"}'),
    frame(b'{"challenge":"' + b"00" * 32 + b'"}') * 2,
    frame(b"x" * 600),
]


def test_whatever_strangers_send_lets_nobody_in_and_leaves_the_members_alone() -> None:
    async def main() -> None:
        async with nodes(plain(SECRET), plain(SECRET)) as (a, b):
            await a.sees("b")
            for octets in STRANGE:
                reader, writer = await asyncio.open_connection(*a.address)
                writer.write(octets)
                answers = await reader.read()
                assert b"greeting" not in answers, octets
                writer.close()
            with pytest.raises(Unauthorized):
                await PeerLink.open(*a.address, plain(OTHER), HostNames())
            assert (a.seen, b.seen, a.task.done()) == ("b", "a", False)

    run(main())


def test_five_hundred_connections_of_strangers_do_not_keep_a_member_out() -> None:
    async def main() -> None:
        room = Room(strangers=50, stranger_timeout=0.05)
        async with nodes(plain(SECRET), plain(SECRET), room=room) as (a, b):
            await b.sees("a")
            flood = [await asyncio.open_connection(*a.address) for _ in range(500)]
            await b.sees("a")
            link = await PeerLink.open(*a.address, plain(SECRET), HostNames())
            link.close()
            assert len(a.calls._server.sessions) <= 60
            for _, writer in flood:
                writer.close()

    run(main())


def test_an_answer_that_is_none_ends_the_link() -> None:
    async def main() -> None:
        async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(10)
            writer.write(frame(json.dumps([1]).encode()))
            writer.close()

        server = await asyncio.start_server(nonsense, HOST, 0)
        link = await PeerLink.open(*server.sockets[0].getsockname(), plain(None), HostNames())
        with pytest.raises(LinkLost, match="a message is not an object"):
            await link.call({"greeting": {}})
        with pytest.raises(LinkLost, match="the connection was closed"):
            await link.call({"greeting": {}})
        server.close()

    run(main())


async def stranger(answers: Callable[[], bytes]) -> tuple[asyncio.Server, Address]:
    """Listen at an address, and answer whoever calls there with the same."""

    async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(frame(answers()))
        writer.close()

    server = await asyncio.start_server(answered, HOST, 0)
    return server, server.sockets[0].getsockname()


def test_a_name_with_several_addresses_finds_whoever_answers_at_any_of_them() -> None:
    """Its first address was the node's own or silent, and the others were never tried."""

    async def main() -> None:
        names = HostNames(lambda _: ("127.0.0.3", "127.0.0.4", "127.0.0.2"))
        async with asyncio.TaskGroup() as tasks:
            a = Node("a", tasks, plain(SECRET), [], at=("127.0.0.2", 0))
            port = a.address[1]
            silent = bound(("127.0.0.4", port))
            b = Node("b", tasks, plain(SECRET), [("all.example", port)], at=("127.0.0.3", port), names=names)
            await b.sees("a")
            await a.sees("b")
            await b.calls.first_round()
            assert b.view.rank > a.view.rank
            for node in (a, b):
                node.close()
            silent.close()

    run(main())


def test_a_name_that_has_another_address_now_leads_to_who_is_there() -> None:
    """The connection to the first one was kept as long as it answered: this node itself, for example."""
    found = ["127.0.0.3"]

    async def main() -> None:
        now = [0.0]
        names = HostNames(lambda _: tuple(found), lambda: now[0])
        async with asyncio.TaskGroup() as tasks:
            a = Node("a", tasks, plain(SECRET), [], at=("127.0.0.2", 0))
            port = a.address[1]
            b = Node("b", tasks, plain(SECRET), [("all.example", port)], at=("127.0.0.3", port), names=names)
            await b.calls.first_round()
            assert b.seen == ""
            found[:] = ["127.0.0.2"]
            now[0] = 100.0
            await b.sees("a")
            for node in (a, b):
                node.close()

    run(main())


def test_octets_that_are_no_tls_after_the_handshake_are_told_with_who_sent_them() -> None:
    async def main() -> None:
        async with nodes(encrypted(SECRET), encrypted(SECRET)) as (a, b):
            await b.sees("a")
            link = await PeerLink.open(*a.address, encrypted(SECRET), HostNames())
            own = link._transport.get_extra_info("sockname")
            raw = socket.socket(fileno=os.dup(link._transport.get_extra_info("socket").fileno()))
            with capture_logs() as logs:
                raw.send(b"no TLS at all, whatever this is")
                async with asyncio.timeout(10):
                    with pytest.raises(LinkLost):
                        await link.call({})
            raw.close()
            link.close()
        (told,) = [line for line in logs if line["event"] == "a peer sent what cannot be read"]
        assert told["peer"] == f"{own[0]}:{own[1]}"
        assert "_ssl.c" not in told["reason"]
        assert "TLS" in told["reason"]

    run(main())


def test_what_should_be_hexadecimal_is_refused_in_words() -> None:
    async def main() -> None:
        async with nodes(plain(SECRET)) as (a,):
            reader, writer = await asyncio.open_connection(*a.address)
            writer.write(frame(json.dumps({"challenge": "no digits"}).encode()))
            assert b"what should be octets in hexadecimal digits is something else" in await reader.read()
            writer.close()

    run(main())


def test_a_peer_with_ever_new_names_does_not_fill_the_log() -> None:
    async def main() -> None:
        async with nodes(plain(None), domains="d") as (a,):
            with capture_logs() as logs:
                link = await PeerLink.open(*a.address, plain(None), HostNames())
                own = link._transport.get_extra_info("sockname")
                for number in range(50):
                    other = replace(a.view.greeting(), incarnation=Incarnation(f"n{number}", "1"))
                    other = replace(other, terms=ClusterTerms("another", 1))
                    await link.call({"greeting": encode(other)})
                link.close()
        told = [line for line in logs if line["event"] == "A node is not taken for a member"]
        assert len(told) == 10
        assert {line["peer"] for line in told} == {f"{own[0]}:{own[1]}"}

    run(main())


@pytest.mark.parametrize("answer", ['{{"unauthorized":"go away {}"}}', '{{"refused":"go away {}"}}'])
def test_a_stranger_at_a_well_known_address_keeps_no_node_from_starting_and_is_told_of_once(answer: str) -> None:
    numbers = iter(range(1000))

    async def main() -> None:
        server, address = await stranger(lambda: answer.format(next(numbers)).encode())
        with capture_logs() as logs:
            async with asyncio.TaskGroup() as tasks:
                node = Node("b", tasks, plain(SECRET), [address])
                await node.calls.first_round()
                while next(numbers) < 10:
                    node.changed.clear()
                    await node.changed.wait()
                node.close()
        assert node.view.refusals() == {}
        (told,) = [line for line in logs if line["event"] == "A node is not taken for a member"]
        assert told["node"] == f"{HOST}:{address[1]}"
        assert "give all nodes the same clusterSecret" in told["reason"]
        server.close()

    run(main())


def test_a_proven_member_that_refuses_ends_the_start() -> None:
    async def main() -> None:
        async with nodes(plain(SECRET), plain(SECRET), domains="de") as (_, b):
            with pytest.raises(PeerRefused, match="domain: 'e' on node 'b', 'd' on node 'a'"):
                await b.calls.first_round()

    run(main())


@pytest.mark.parametrize(
    ("here", "there", "said"),
    [
        (lambda: plain(SECRET), lambda: encrypted(SECRET), "it speaks no TLS, and this node does, beyond loopback"),
        (
            lambda: encrypted(SECRET),
            lambda: plain(SECRET),
            "it may speak TLS, as beyond loopback, which this node does not",
        ),
    ],
    ids=["TLS at a plain port", "plain at a port with TLS"],
)
def test_nodes_on_loopback_and_beyond_do_not_see_each_other_and_the_reason_is_told(
    here: Callable[[], PeerSecurity], there: Callable[[], PeerSecurity], said: str
) -> None:
    async def main() -> None:
        with capture_logs() as logs:
            async with nodes(here(), there()) as (a, b):
                await b.calls.first_round()
                with pytest.raises((LinkLost, OSError), match=said):
                    await PeerLink.open(*a.address, b.calls._security, HostNames())
                assert (a.seen, b.seen) == ("", "")
        reasons = {line.get("reason", "") for line in logs if line["log_level"] == "warning"}
        expected = {"it speaks TLS, as beyond loopback, and this node does not", "the client does not speak TLS"}
        assert any(text in reason for reason in reasons for text in expected), reasons

    run(main())


def test_nodes_that_differ_in_when_a_member_is_gone_say_so_once_with_both_values() -> None:
    async def main() -> None:
        with capture_logs() as logs:
            async with nodes(plain(SECRET), plain(SECRET), silences=(2.0, 4.0)) as (a, b):
                for _ in range(3):
                    await a.sees("b")
                    await b.sees("a")
                    b.changed.clear()
                    await b.changed.wait()
        told = [line for line in logs if line["event"].startswith("Nodes differ in how soon a silent member is gone")]
        assert {(line["node"], line["its_seconds"], line["own_seconds"]) for line in told} == {
            ("a", 2.0, 4.0),
            ("b", 4.0, 2.0),
        }
        assert len(told) == 2

    run(main())
