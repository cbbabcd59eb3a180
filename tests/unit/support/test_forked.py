"""A process that is forked is what a new one would be: what it runs, what it is given, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping

import psutil
import pytest

from benchmarks.nodes.process import launched
from tests.support.forked import ForkedProcess, ForkServer
from tests.support.server_process import wait_until

DEADLINE = 20.0
TELLS = """\
import json, os, signal, sys
print(json.dumps([
    __name__, sys.argv, os.getcwd(), dict(os.environ), sorted(os.sched_getaffinity(0)), os.getsid(0) == os.getpid(),
    [str(signal.getsignal(each)) for each in (signal.SIGTERM, signal.SIGINT, signal.SIGPIPE)],
    sorted(os.listdir("/proc/self/fd"))[:3], len(os.listdir("/proc/self/fd")),
    sys.stdout.encoding, sys.stdout.errors, sys.stderr.errors, sys.stdin.read(), sys.flags.dev_mode,
]))
"""


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    started = ForkServer(is_loaded=False)
    yield started
    started.close()


@pytest.fixture
def environ() -> Mapping[str, str]:
    return {**os.environ, "PYTHONUNBUFFERED": "1"}


def output(process: ForkedProcess | subprocess.Popen[str]) -> str:
    """All that it writes until it has ended."""
    assert process.stdout is not None
    with process.stdout:
        return process.stdout.read()


@pytest.mark.parametrize("is_detached", [False, True])
def test_what_a_program_finds_is_what_it_finds_in_a_new_process(
    server: ForkServer, environ: Mapping[str, str], is_detached: bool
) -> None:
    command = (sys.executable, "-c", TELLS, "first", "--second")
    told = {**environ, "OWN": "é"}
    fresh = launched(command, told, is_detached=is_detached)
    assert isinstance(fresh, subprocess.Popen)
    expected = json.loads(output(fresh))
    assert fresh.wait(DEADLINE) == 0
    forked = server.launch(command, told, is_detached=is_detached)

    assert json.loads(output(forked)) == expected
    assert forked.wait(DEADLINE) == 0
    assert expected[3]["OWN"] == "é"


def test_a_module_is_run_as_a_command_with_its_arguments(server: ForkServer, environ: Mapping[str, str]) -> None:
    process = server.launch((sys.executable, "-m", "broker", "--nonsense"), environ, is_detached=False)

    assert "unrecognized arguments: --nonsense" in output(process)
    assert process.wait(DEADLINE) == 2


@pytest.mark.parametrize(
    ("program", "says", "code"),
    [
        ("pass", "", 0),
        ("import sys; sys.exit(78)", "", 78),
        ("import sys; sys.exit('no')", "no\n", 1),
        ("1 / 0", "ZeroDivisionError: division by zero\n", 1),
        ("import atexit; atexit.register(print, 'at the end')", "at the end\n", 0),
    ],
)
def test_it_ends_as_a_new_process_would(
    server: ForkServer, environ: Mapping[str, str], program: str, says: str, code: int
) -> None:
    process = server.launch((sys.executable, "-c", program), environ, is_detached=False)

    assert output(process).endswith(says)
    assert process.wait(DEADLINE) == code
    assert process.poll() == code


def test_it_is_ended_by_signals_and_those_who_wait_know_how(server: ForkServer, environ: Mapping[str, str]) -> None:
    waits = (sys.executable, "-c", "import time; print('here', flush=True); time.sleep(100)")
    first, second = (server.launch(waits, environ, is_detached=False) for _ in range(2))
    for process in (first, second):
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        first.wait(0.0)
    first.kill()
    second.terminate()

    assert (first.wait(DEADLINE), second.wait(DEADLINE)) == (-signal.SIGKILL, -signal.SIGTERM)
    for process in (first, second):
        process.kill()  # nothing happens
        assert output(process) == ""


def test_what_still_runs_ends_with_its_server(environ: Mapping[str, str]) -> None:
    server = ForkServer(is_loaded=False)
    process = server.launch((sys.executable, "-c", "import time; time.sleep(100)"), environ, is_detached=True)
    server.close()

    assert process.wait(DEADLINE) == -signal.SIGKILL
    assert output(process) == ""
    wait_until(lambda: not psutil.pid_exists(process.pid), DEADLINE, "nothing is left of it")


@pytest.mark.parametrize(
    ("command", "more", "can"),
    [
        (("-m", "broker"), {}, True),
        (("-c", "pass"), {"BROKER_CLUSTER_SECRET": "secret"}, True),
        (("-X", "dev", "-m", "broker"), {}, False),
        (("-m", "broker"), {"PYTHONWARNINGS": "error"}, False),
        (("-m", "broker"), {"TZ": "Asia/Kathmandu"}, False),
    ],
)
def test_what_the_start_of_an_interpreter_decides_is_not_forked(
    server: ForkServer, environ: Mapping[str, str], command: tuple[str, ...], more: Mapping[str, str], can: bool
) -> None:
    assert server.can_run((sys.executable, *command), {**environ, **more}) is can
    assert not server.can_run(("sh", *command), {**environ, **more})


def test_a_command_is_given_its_input_and_what_it_says_and_complains_of_stays_apart(
    server: ForkServer, environ: Mapping[str, str]
) -> None:
    program = "import sys; print(sys.stdin.read()); print('wrong', file=sys.stderr); sys.exit(3)"
    command = (sys.executable, "-c", program)

    done = server.run(command, environ, "é\n")

    expected = subprocess.run(command, env=environ, input="é\n", capture_output=True, text=True, check=False)
    assert vars(done) == vars(expected)
