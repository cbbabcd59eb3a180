"""Replies between nodes: what one call takes, what comes twice or in pieces, and what does not fit."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from broker.codec.properties import BasicProperties, encode_header
from broker.coordination.replies import CALL_OCTETS, MOST_IN_CALL, MOST_WAITING, ReplyIntake, ReplySender
from broker.message import body_tails, tail
from broker.ports.cluster_rows import Incarnation
from broker.ports.peer_calls import Caller, Reply, ReplyPart, Unavailable
from tests.support.stage import Gate, Stage, drive

A, B, C = Incarnation("a", "1"), Incarnation("b", "1"), Incarnation("c", "1")


def reply(body: bytes, address: str = "x") -> Reply:
    """Return a reply whose body comes in frames of 4096 octets."""
    header = tail(encode_header(len(body), BasicProperties(correlation_id="7")))
    return Reply("/", address, b"\0\x01x", header, *body_tails(body, 4096))


class Node:
    """The other node: it keeps what it is told, and answers as it should unless `failure` is set."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.calls: list[tuple[int, Sequence[ReplyPart]]] = []
        self.awaited = {"x"}
        self.failure: Exception | None = None

    async def deliver_replies(self, call: int, replies: Sequence[ReplyPart], caller: Caller) -> Sequence[bool]:
        await self.gate.passed()
        self.calls.append((call, replies))
        if self.failure is not None:
            raise self.failure
        return [part.address in self.awaited for part in replies]


class Sending:
    """A sender on node a, and what it was answered."""

    def __init__(self) -> None:
        self.stage = Stage()
        self.node = Node()
        self.members = {B: self.node}
        self.answers: list[bool] = []
        self.answered = 0
        self.sender = ReplySender(lambda: self.members, lambda: Caller("a", "1"), self.stage.spawn, self._on_answered)  # type: ignore[return-value,arg-type]

    def send(self, *bodies: bytes, address: str = "x") -> list[bool]:
        """Send replies and return the answers that are there."""
        for body in bodies:
            self.sender.send(B.id, reply(body, address), self.answers.append)
        self.stage.run()
        answers = list(self.answers)
        self.answers.clear()
        return answers

    def _on_answered(self) -> None:
        self.answered += 1


@pytest.fixture
def sending() -> Sending:
    return Sending()


def test_what_waits_for_a_call_shares_the_next_one(sending: Sending) -> None:
    sending.node.gate.is_open = False
    assert sending.send(*[b"m"] * (2 * MOST_IN_CALL + 1)) == []
    sending.node.gate.is_open = True
    assert sending.send() == [True] * (2 * MOST_IN_CALL + 1)
    assert [(call, len(parts)) for call, parts in sending.node.calls] == [(1, 100), (2, 100), (3, 1)]
    assert sending.answered == 3


def test_a_call_is_bounded_by_its_octets_too(sending: Sending) -> None:
    assert sending.send(*[b"m" * (CALL_OCTETS // 3)] * 4) == [True] * 4
    assert [len(parts) for _, parts in sending.node.calls] == [2, 2]


def test_each_reply_has_its_own_answer(sending: Sending) -> None:
    sending.node.gate.is_open = False
    sending.send(b"1")
    sending.send(b"2", address="y")
    sending.send(b"3")
    sending.node.gate.is_open = True
    assert sending.send() == [True, False, True]


def test_nobody_of_a_large_reply_is_sent_more_than_the_first_piece(sending: Sending) -> None:
    assert sending.send(b"m" * 4 * CALL_OCTETS, address="y") == [False]
    assert len(sending.node.calls) == 1


def test_what_a_call_that_failed_had_is_lost_and_the_rest_goes_on(sending: Sending) -> None:
    sending.node.gate.is_open = False
    sending.send(*[b"m"] * (MOST_IN_CALL + 1))
    sending.node.failure, sending.node.gate.is_open = Unavailable("not now"), True
    assert sending.send() == [False] * (MOST_IN_CALL + 1)
    sending.node.failure = None
    assert sending.send(b"m") == [True]


def test_what_waits_is_bounded_and_one_large_reply_always_fits(sending: Sending) -> None:
    large = b"m" * (MOST_WAITING + 1)
    sending.node.gate.is_open = False
    assert sending.send(large) == []
    assert sending.send(b"m") == [False]
    sending.node.gate.is_open = True
    assert sending.send() == [True]
    assert sending.send(b"m") == [True]


def test_a_node_that_is_no_member_gets_nothing_and_its_line_is_forgotten(sending: Sending) -> None:
    sending.send(b"m")
    sending.members.clear()
    assert sending.send(b"m") == [False]
    sending.members[Incarnation("b", "2")] = sending.node
    sending.sender.send("2", reply(b"m"), sending.answers.append)
    assert sending.send() == [True]
    assert [call for call, _ in sending.node.calls] == [1, 1]


class Taking:
    """An intake on node b, and what its channels got."""

    def __init__(self) -> None:
        self.awaited = {("/", "x")}
        self.delivered: list[Reply] = []
        self.living = {A}
        self.intake = ReplyIntake(
            self._deliver, lambda vhost, address: (vhost, address) in self.awaited, lambda: self.living
        )

    def take(self, call: int, *parts: ReplyPart, sender: Incarnation = A) -> Sequence[bool]:
        return drive(self.intake.deliver_replies(sender, call, parts))

    @property
    def bodies(self) -> list[bytes]:
        return [b"".join(chunk[4:-1] for chunk in taken.chunks or [taken.body]) for taken in self.delivered]

    def _deliver(self, taken: Reply) -> bool:
        self.delivered.append(taken)
        return True


@pytest.fixture
def taking() -> Taking:
    return Taking()


def whole(body: bytes, address: str = "x") -> ReplyPart:
    return ReplyPart("/", address, b"\0\x01x", reply(body).header[4:-1], body)


def piece(body: bytes) -> ReplyPart:
    return ReplyPart("/", "x", b"\0\x01x", b"", body)


def test_a_reply_is_the_same_on_the_other_node(taking: Taking) -> None:
    assert taking.take(1, whole(b"m")) == [True]
    assert taking.delivered == [reply(b"m")]
    assert taking.take(2, whole(b"")) == [True]
    assert taking.delivered[1:] == [reply(b"")]


def test_a_large_reply_goes_in_pieces_and_is_delivered_whole(sending: Sending, taking: Taking) -> None:
    body = bytes(range(256)) * (CALL_OCTETS // 100)
    sending.send(body)
    assert len(sending.node.calls) == 3
    for call, parts in sending.node.calls:
        assert taking.delivered == []
        assert taking.take(call, *parts) == [True]
    assert taking.bodies == [body]


def test_a_call_that_comes_again_changes_nothing_and_has_the_same_answer(taking: Taking) -> None:
    assert taking.take(1, whole(b"m"), whole(b"m", "y")) == [True, False]
    assert taking.take(1, whole(b"m"), whole(b"m", "y")) == [True, False]
    assert taking.bodies == [b"m"]


def test_a_call_that_comes_after_its_successor_is_refused(taking: Taking) -> None:
    taking.take(2, whole(b"m"))
    with pytest.raises(Unavailable):
        taking.take(1, whole(b"late"))
    assert taking.bodies == [b"m"]


def test_what_is_left_of_a_reply_is_forgotten_with_the_next_one(taking: Taking) -> None:
    first, second = whole(b"12"), whole(b"34")
    assert taking.take(1, ReplyPart("/", "x", b"", first.header, b"1")) == [True]
    assert taking.take(2, second) == [True]
    assert taking.take(3, piece(b"2")) == [False]
    assert taking.bodies == [b"34"]


def test_a_reply_whose_channel_goes_between_two_pieces_is_lost(taking: Taking) -> None:
    assert taking.take(1, ReplyPart("/", "x", b"", whole(b"123").header, b"1")) == [True]
    taking.awaited.clear()
    assert taking.take(2, piece(b"2")) == [False]
    taking.awaited.add(("/", "x"))
    assert taking.take(3, piece(b"3")) == [False]
    assert taking.bodies == []


def test_a_body_longer_than_its_header_says_is_lost(taking: Taking) -> None:
    assert taking.take(1, ReplyPart("/", "x", b"", whole(b"1").header, b"12")) == [False]
    assert taking.bodies == []


def test_nodes_that_are_gone_are_forgotten(taking: Taking) -> None:
    taking.take(5, whole(b"m"))
    taking.living = {C}
    taking.take(1, whole(b"m"), sender=C)
    assert taking.take(1, whole(b"m")) == [True]


def test_each_node_counts_its_own_calls(taking: Taking) -> None:
    taking.living = {A, C}
    taking.take(5, whole(b"m"))
    assert taking.take(1, whole(b"m"), sender=C) == [True]
