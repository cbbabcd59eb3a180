"""What a command does to the world: it runs programs, and waits for the end of a process."""

from __future__ import annotations

import socket
import subprocess
import sys

from broker.cli.shell import await_end, execute, reach


def test_a_program_gets_its_input_and_its_exit_code_is_told() -> None:
    code = "import sys; sys.exit(len(sys.stdin.read()))"
    assert execute([sys.executable, "-c", code], b"seven..") == 7


def test_the_end_of_a_process_is_noticed_and_one_that_goes_on_is_not_waited_for() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert not await_end(process.pid, 0.0)
    process.communicate(b"\n")
    assert await_end(process.pid, 60.0)


def test_a_port_that_nobody_listens_on_tells_why_it_takes_no_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert reach("127.0.0.1", port) == ""
    assert reach("127.0.0.1", port) == "connection refused"
