"""Spoilt sessions: whatever a client sends, it hurts only itself.

Recorded sessions are mutated by a seeded generator and played to a broker on which another client, the canary, goes on
publishing and consuming. `CORDILLERA_FUZZ_SEED` chooses another seed; a failure names the case that repeats it.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections import Counter
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from broker.broker import Limits
from broker.codec import methods as amqp
from broker.errors import ReplyCode
from tests.support.mutations import mutate
from tests.support.peer import Peer, command
from tests.support.sessions import Bench, Client, handshake, publish, running_bench, sessions

SEED = int(os.environ.get("CORDILLERA_FUZZ_SEED", "20260"))
CASES_PER_BROKER = 250
SESSIONS = sessions((0, 1, 100, 4089))
INTERNALS = re.compile(r"Traceback|Error\(|Exception|\.py\b|/broker/|0x[0-9a-f]{6}")
CONNECTION_CODES = {
    ReplyCode.ACCESS_REFUSED,  # a login
    ReplyCode.CONNECTION_FORCED,
    ReplyCode.INVALID_PATH,
    ReplyCode.FRAME_ERROR,
    ReplyCode.SYNTAX_ERROR,
    ReplyCode.COMMAND_INVALID,
    ReplyCode.CHANNEL_ERROR,
    ReplyCode.UNEXPECTED_FRAME,
    ReplyCode.RESOURCE_ERROR,
    ReplyCode.NOT_ALLOWED,
    ReplyCode.NOT_IMPLEMENTED,
}
CHANNEL_CODES = {
    ReplyCode.CONTENT_TOO_LARGE,
    ReplyCode.ACCESS_REFUSED,
    ReplyCode.NOT_FOUND,
    ReplyCode.RESOURCE_LOCKED,
    ReplyCode.PRECONDITION_FAILED,
}
CANARY_BODY = b"still here"
DEFERRED_LIMIT = 4 * 1024 * 1024


@dataclass(slots=True)
class Tally:
    """What all cases came to."""

    cases: int = 0
    octets: int = 0
    slowest: float = 0.0
    codes: Counter[str] = field(default_factory=Counter)
    complaints: dict[str, str] = field(default_factory=dict)
    """What must not happen, each kind with the first case that showed it."""

    def complain(self, what: str, where: str) -> None:
        self.complaints.setdefault(what, where)

    def __str__(self) -> str:
        codes = ", ".join(f"{name} {number}" for name, number in sorted(self.codes.items()))
        return f"{self.cases} cases, {self.octets} octets, slowest {self.slowest * 1000:.0f} ms; {codes}"


class Canary:
    """A well-behaved client on the same broker."""

    def __init__(self, bench: Bench) -> None:
        self._client = bench.connect()
        self._tag = 0
        self._client.send(handshake())
        self._client.send(command(1, amqp.QueueDeclare(queue="canary", exclusive=True)))

    def listen(self) -> None:
        self._client.send(command(1, amqp.ConfirmSelect()) + command(1, amqp.BasicConsume(queue="canary")))
        self._client.take_output()

    def sing(self) -> bool:
        """Publish a message; did it come back, and was its confirm sent?"""
        self._tag += 1
        self._client.send(publish("canary", CANARY_BODY))
        received = self._client.take_output()
        self._client.send(command(1, amqp.BasicAck(self._tag)))
        return CANARY_BODY in received and command(1, amqp.BasicAck(self._tag)) in received


def held(client: Client) -> bool:
    """Is no more kept for this client than its limits allow?"""
    connection = client.connection
    deferred = sum(channel.deferred_octets for channel in connection.channels.values())
    return connection.reader.buffered <= max(connection.output.frame_max, 8192) + 8 and deferred <= DEFERRED_LIMIT


async def play_case(bench: Bench, canary: Canary, data: list[bytes], tally: Tally, where: str) -> None:
    """Play one spoilt session and note what it came to."""
    client = bench.connect()
    began = time.perf_counter()
    with capture_logs() as logs:
        try:
            for piece in data:
                client.send(piece)
                if not held(client):
                    tally.complain("buffers more than a frame", where)
                await bench.settle()
        except Exception as error:
            tally.complain(f"escaped from receive: {error!r}", where)
        client.take_output()
        client.connection.on_lost()
        await bench.settle()
    tally.slowest = max(tally.slowest, time.perf_counter() - began)
    for entry in logs:
        if entry["log_level"] == "error":
            tally.complain(f"{entry['event']}: {entry.get('exc_info')!r}", where)
    for failure in bench.failures:
        tally.complain(f"escaped from a handler: {failure!r}", where)
    bench.failures.clear()
    judge(bytes(client.output), tally, where)
    queues = bench.broker.vhosts["/"].queues.values()
    if sum(queue.is_exclusive for queue in queues) != 1 or sum(len(queue.consumers) for queue in queues) != 1:
        tally.complain("a lost connection leaves consumers or exclusive queues behind", where)
    if not canary.sing():
        tally.complain("the canary has fallen silent", where)


def judge(output: bytes, tally: Tally, where: str) -> None:
    """Look at the answers as a strict client would."""
    peer = Peer(lambda data: None)
    try:
        peer.feed(output)
    except Exception as error:
        tally.complain(f"a strict client objects: {type(error).__name__} {re.sub('[0-9]+', 'N', str(error))}", where)
    outcome = "no error"
    for _, method in peer.received():
        if not isinstance(method, amqp.ConnectionClose | amqp.ChannelClose):
            continue
        scope, allowed = ("connection", CONNECTION_CODES) if method.index >> 16 == 10 else ("channel", CHANNEL_CODES)
        outcome = f"{scope} {method.reply_code}"
        if method.reply_code not in allowed:
            tally.complain(f"{scope} closed with {method.reply_code}: {method.reply_text}", where)
        elif not method.reply_text.startswith(f"{ReplyCode(method.reply_code).name} - "):
            tally.complain(f"a reply text without its name: {method.reply_text}", where)
        if INTERNALS.search(method.reply_text):
            tally.complain(f"internals for the peer: {method.reply_text}", where)
    tally.codes["protocol header" if peer.protocol_header else outcome] += 1


def spoilt(case: int, seed: int) -> list[bytes]:
    """Return the pieces of a case: mostly the handshake is left alone, so that what follows is reached."""
    rng = random.Random(f"{seed}/{case}")
    session, other = rng.choice(SESSIONS), rng.choice(SESSIONS)
    stages = list(session.stages)
    at = rng.randrange(len(stages))
    opening = handshake()
    if at == 0 and rng.random() < 0.8:
        body = mutate(opening[:8] + stages[0][len(opening) :], rng, other.stages[0])[8:]
        stages[0] = opening + body
    elif at == 0:
        stages[0] = mutate(opening, rng, other.stages[0]) + stages[0][len(opening) :]
    else:
        stages[at] = mutate(opening[:8] + stages[at], rng, other.stages[0])[8:]
    if rng.random() < 0.5:
        cut = rng.randrange(len(stages[at]) + 1)
        stages[at : at + 1] = [stages[at][:cut], stages[at][cut:]]
    return [stage for stage in stages if stage]


async def play(cases: range, seed: int) -> Tally:
    tally = Tally()
    for first in range(cases.start, cases.stop, CASES_PER_BROKER):
        async with running_bench(Limits(max_message_size=1 << 20)) as bench:
            with capture_logs():
                canary = Canary(bench)
                await bench.settle()
                canary.listen()
            for case in range(first, min(first + CASES_PER_BROKER, cases.stop)):
                data = spoilt(case, seed)
                tally.cases += 1
                tally.octets += sum(map(len, data))
                await play_case(bench, canary, data, tally, f"seed {seed}, case {case}")
    return tally


def check(tally: Tally) -> None:
    print(f"seed {SEED}: {tally}")
    assert tally.complaints == {}
    assert tally.slowest < 5.0
    provoked = {"connection 501", "connection 502", "connection 503", "connection 504", "connection 505"}
    assert provoked | {"connection 530", "connection 540", "channel 404", "channel 406"} <= set(tally.codes)


async def test_four_thousand_mutated_sessions_hurt_nobody_else() -> None:
    check(await play(range(4_000), SEED))


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_two_hundred_thousand_mutated_sessions_hurt_nobody_else() -> None:
    check(await play(range(4_000, 204_000), SEED))
