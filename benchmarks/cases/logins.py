"""What logins cost others: guesses of passwords beside a client that works, and many clients that come back at once."""

import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from benchmarks.address import Address
from benchmarks.cases.fairness import LEAD, beside
from benchmarks.cases.memory import allow_files
from benchmarks.client import FRAME_MAX
from benchmarks.frames import PROTOCOL_HEADER, method, short_string
from benchmarks.own_broker import OwnBroker
from benchmarks.results import Row, Values
from benchmarks.session import Session
from benchmarks.target import Meter, Target

RATE = 1000
"""Guesses a second."""
SECONDS = 5.0
OPEN_GUESSES = 400
"""Sockets of guesses that wait for their end; the next guess waits for the oldest of them."""
CLIENTS = 500
STORM_LIMIT = 60.0
ADMIN = {"RABBITMQ_DEFAULT_USER": "bench", "RABBITMQ_DEFAULT_PASS": "known to the benchmark"}
OPEN_OK = struct.pack(">HH", 10, 41)
METRICS = ["p50_ms", "p99_ms", "max_ms", "refused_rate", "cpu_percent", "rss_growth_mib"]


def run(session: Session) -> None:
    """Measure a client beside guesses, then clients that come back."""
    allow_files(2 * CLIENTS + OPEN_GUESSES + 200)
    guesses: dict[str, Callable[[int], tuple[str, str]] | None] = {
        "nobody else": None,
        f"{RATE}/s guesses of one password": lambda number: ("mallory", f"guess {number}"),
        f"{RATE}/s guesses, each for another user": lambda number: (f"user {number}", "guess"),
        f"{RATE}/s logins with one wrong password": lambda number: ("mallory", "old"),
    }
    for name, credentials in guesses.items():
        session.rounds(Row("logins", f"beside {name}", METRICS), partial(flooded, session, credentials))
    session.rounds(Row("logins", f"{CLIENTS} clients come, and come back", ["first_s", "again_s"]), storm)


def flooded(session: Session, credentials: Callable[[int], tuple[str, str]] | None, target: Target) -> Values:
    """Let the canary run beside guesses; return what it saw, and what the broker used meanwhile."""
    meter = Meter(target, session.load_cores)
    refused = 0

    def attack(target: Target) -> Iterator[None]:
        nonlocal refused
        yield
        refused = guess(target.address, credentials, meter) if credentials is not None else rest(meter)
        yield

    values = beside(session, target, attack)
    return values | meter.values() | {"refused_rate": refused / SECONDS}


def rest(meter: Meter) -> int:
    """Do nothing for as long as guesses take; return how many were refused."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        meter.sample()
        time.sleep(0.1)
    return 0


def guess(address: Address, credentials: Callable[[int], tuple[str, str]], meter: Meter) -> int:
    """Try passwords at `RATE`, each on a connection of its own; return how many were refused in time."""
    began, sent, refused = time.monotonic(), 0, 0
    waiting: dict[socket.socket, None] = {}
    while time.monotonic() - began < SECONDS:
        meter.sample()
        due = int((time.monotonic() - began) * RATE)
        while sent < due and len(waiting) < OPEN_GUESSES:
            sock = socket.create_connection((address.host, address.port))
            sock.sendall(PROTOCOL_HEADER + start_ok(*credentials(sent)))
            waiting[sock] = None
            sent += 1
        refused += collect(waiting, 0.001)
    for sock in waiting:
        sock.close()
    return refused


def collect(waiting: dict[socket.socket, None], seconds: float) -> int:
    """Close the sockets that the broker has closed; return how many there were."""
    poll = select.poll()
    by_number = {sock.fileno(): sock for sock in waiting}
    for number in by_number:
        poll.register(number, select.POLLIN)
    ended = 0
    for number, _ in poll.poll(seconds * 1000):
        sock = by_number[number]
        try:
            is_over = not sock.recv(65_536)
        except ConnectionError:
            is_over = True
        if is_over:
            del waiting[sock]
            sock.close()
            ended += 1
    return ended


def storm(target: Target) -> Values:
    """Let clients come that a broker knows nothing of, and then come back."""
    if target.own is None:
        return arrivals(target.address)
    with_secret = OwnBroker.standalone(target.cores(), environ=ADMIN)
    try:
        with_secret.start()
        user, password = ADMIN.values()
        return arrivals(replace(with_secret.address, user=user, password=password))
    finally:
        with_secret.stop()


def arrivals(address: Address) -> Values:
    """Return the seconds until all are in, the first time and the second."""
    values = {}
    for name in ("first_s", "again_s"):
        clients, seconds = arrive(address)
        values[name] = seconds
        for client in clients:
            client.close()
        time.sleep(LEAD)
    return values


def arrive(address: Address) -> tuple[list[socket.socket], float]:
    """Connect `CLIENTS` at once; return them, and the seconds until the last of them has its virtual host."""
    opening = (
        PROTOCOL_HEADER
        + start_ok(address.user, address.password)
        + method(0, 10, 31, struct.pack(">HIH", 2047, FRAME_MAX, 0))
        + method(0, 10, 40, short_string(address.vhost) + b"\x00\x00")
    )
    began = time.monotonic()
    poll = select.poll()
    waiting: dict[int, socket.socket] = {}
    heard: dict[int, bytes] = {}

    def connect() -> None:
        client = opened(address, opening)
        waiting[client.fileno()], heard[client.fileno()] = client, b""
        poll.register(client, select.POLLIN)

    for _ in range(CLIENTS):
        connect()
    clients: list[socket.socket] = []
    while waiting:
        for number, _ in poll.poll(1000):
            data = received(waiting[number])
            heard[number] += data
            if data and OPEN_OK not in heard[number]:
                continue
            poll.unregister(number)
            client = waiting.pop(number)
            if data:
                clients.append(client)
            else:  # as clients do whose broker takes no more at once
                client.close()
                connect()
        if time.monotonic() - began > STORM_LIMIT:
            raise RuntimeError(f"{len(waiting)} clients are not in after {STORM_LIMIT} s")
    return clients, time.monotonic() - began


def opened(address: Address, opening: bytes) -> socket.socket:
    """Return a connection on which `opening` is said, as soon as the broker takes one."""
    while True:
        client = socket.create_connection((address.host, address.port))
        try:
            client.sendall(opening)
        except ConnectionError:
            client.close()
        else:
            return client


def received(client: socket.socket) -> bytes:
    """Return what has come; nothing when the connection is closed."""
    try:
        return client.recv(65_536)
    except ConnectionError:
        return b""


def start_ok(user: str, password: str) -> bytes:
    """Encode connection.start-ok of a client that is not told why it is refused: the socket is just closed."""
    response = f"\0{user}\0{password}".encode()
    answer = struct.pack(">I", 0) + short_string("PLAIN") + struct.pack(">I", len(response)) + response
    return method(0, 10, 11, answer + short_string("en_US"))
