"""The programs in examples/ run against a broker, and say what they should."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu import Connection, Queue

EXAMPLES = Path(__file__).parents[2] / "examples"

LINES = {
    "hello": ["received Hello World!"],
    "confirms": ["order 2 is on disk", "no queue for 'example.nowhere': the message came back"],
    "deduplication": [
        "7 orders are confirmed, 5 of them for the second time",
        "7 orders came out: order 0, order 1, order 2, order 3, order 4, order 5, order 6",
        "order 3 is confirmed again, and 0 wait",
    ],
    "delayed": [
        "3 messages are confirmed, 1 of them is in the queue",
        "its x-delay is -1500 now: it is not delayed again",
    ],
    "streams": [
        "from the first: 0: south 20, 1: north 21, 2: south 22, 3: north 23, 4: south 24, 5: north 25",
        "from offset 4: 4: south 24, 5: north 25",
        "the north alone: 1: north 21, 3: north 23, 5: north 25",
        "a reader of two: 0: south 20, 1: north 21",
        "goes on with: 2: south 22, 3: north 23",
        "6 readings are still there",
    ],
    "message_groups": [
        "the first messages were: large 0, small 0, tiny 0",
        "large: in order",
        "small: in order",
        "tiny: in order",
    ],
    "work_queue": ["task 3 failed, once more", "task 9 done"],
    "kombu_tasks": ["2 + 10 = 12"],
    "faststream_rpc": ["[1, 2] make 3", "[3, 4, 5] make 12", "[] make 0"],
    "aio_pika_rpc": ["6 / 4 = 1.5", "1 / 0: division by zero", "1 / 2: nobody took the call in time"],
    "dramatiq_tasks": ["hello alice", "hello carol", "hello bob after one failure"],
    "celery_eta": [
        "of 2 tasks 1 is in the queue: the other waits in the broker",
        "1 + 1 = 2",
        "2 + 3 = 5 and not before its time: True",
    ],
    "celery_tasks": ["2 + 3 = 5", "(1 + 2) + 10 = 13", "sums: [0, 2, 4]"],
}
"""Lines that each example writes, among others."""
OPERATED = {
    "altering": [
        "refused: a queue without priorities keeps its messages in another way; declare another queue, and redrive",
        "3 of 5 are left: the oldest went to example.altering.over",
        "one consumer of two got 3 messages",
    ],
    "redriving": [
        "order 2 is in example.redriving.dead: rejected in example.redriving",
        "order 1 is in 0 queues: it was handled",
        "a redrive would move 1",
        "1 moved back",
        "order 2 is in example.redriving",
        "1 put back",
        "order 2 is in example.redriving.dead",
    ],
}
"""Those that ask the HTTP API, too."""
ALONE = {"nameko_rpc": ["hello world", "the service has failed: ValueError whom?"]}
"""Those whose libraries do not go together with the others: nameko patches every pytest of its environment."""


def start(python: str | Path, name: str, *urls: str) -> subprocess.Popen[str]:
    command = [str(python), str(EXAMPLES / f"{name}.py"), *urls]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def missing(process: subprocess.Popen[str], lines: list[str]) -> str:
    """Return what is wrong with a run when it has ended, "" when nothing is."""
    output, _ = process.communicate(timeout=60)
    said = [line.rstrip() for line in output.splitlines()]
    absent = [line for line in lines if line not in said]
    return f"exit {process.returncode}, without {absent}:\n{output}" if absent or process.returncode else ""


@contextmanager
def listening_for_commands(url: str, queue: str) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Get what is sent meanwhile to the workers of Celery, as each of them gets it, and return it when asked."""
    with Connection(url) as connection:
        commands = Celery(set_as_current=False).control.mailbox.exchange
        inbox = Queue(queue, commands, exclusive=True)(connection.default_channel)
        inbox.declare()
        yield lambda: [message.payload for message in iter(lambda: inbox.get(accept=["json"]), None)]


def test_every_example_is_run() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*LINES, *OPERATED, *ALONE}


def test_the_examples_say_what_they_should(amqp_url: str, unique: Callable[[str], str]) -> None:
    running: dict[str, subprocess.Popen[str]] = {}
    with listening_for_commands(amqp_url, unique("commands")) as commands:
        try:
            running.update((name, start(sys.executable, name, amqp_url)) for name in LINES)
            wrong = {name: missing(process, LINES[name]) for name, process in running.items()}
        finally:
            for process in running.values():
                process.kill()
        shutdowns = [command for command in commands() if command["method"] == "shutdown"]
    assert all(command["destination"] for command in shutdowns), f"the workers of all programs end: {shutdowns}"
    assert not any(wrong.values()), "\n".join(f"{name}: {what}" for name, what in wrong.items() if what)
    assert len(shutdowns) == len([name for name in LINES if name.startswith("celery_")])


def test_the_examples_of_operators_say_what_they_should(amqp_url: str, api_url: str) -> None:
    running = {name: start(sys.executable, name, amqp_url, api_url) for name in OPERATED}
    try:
        wrong = {name: missing(process, OPERATED[name]) for name, process in running.items()}
    finally:
        for process in running.values():
            process.kill()
    assert not any(wrong.values()), "\n".join(f"{name}: {what}" for name, what in wrong.items() if what)


@pytest.mark.slow
def test_the_example_of_nameko_says_what_it_should(amqp_url: str, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", tmp_path], check=True)
    python = tmp_path / "bin" / "python"
    pip = subprocess.run([python, "-m", "pip", "install", "-q", "nameko>=2.14,<3"], capture_output=True, text=True)
    if pip.returncode:
        pytest.skip(f"nameko cannot be installed: {pip.stderr}")
    assert missing(start(python, "nameko_rpc", amqp_url), ALONE["nameko_rpc"]) == ""
