"""The integration tests of client libraries, as their source distributions ship them, run against this broker.

Of each suite: how many tests pass, and which fail for a reason that is given; what their own conditions skip is not
counted. Versions are fixed, and environments temporary, so that what is counted stays the same.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from benchmarks.nodes.configuration import NodeConfiguration
from benchmarks.nodes.ports import quiet_port
from benchmarks.nodes.process import BrokerProcess

UNREACHABLE: Final = "(from versions: none)"
"""What pip ends with when it has not found any version, because it has not reached an index."""
OUTCOME: Final = re.compile(r"^(PASSED|SKIPPED|FAILED|ERROR|XFAIL|XPASS)(?: \[\d+\])? (\S+)")
RUNNER: Final = ("pytest==9.1.1", "pytest-rerunfailures==16.7", "pytest-timeout==2.4.0")


@dataclass(frozen=True)
class Suite:
    """One source distribution, and what its tests find here."""

    library: str
    needs: tuple[str, ...]
    """What its tests import, each at one version: they count on it."""
    tests: tuple[str, ...]
    """Arguments of pytest, in the unpacked distribution."""
    passed: int
    failures: dict[str, str] = field(default_factory=dict)
    """The tests that fail, and why each of them must."""
    options: Callable[[BrokerProcess], tuple[str, ...]] = lambda broker: ()
    """Options that tell its tests where the broker is."""
    runner: tuple[str, ...] = RUNNER
    command: tuple[str, ...] = ("python", "-m", "pytest")


KOMBU: Final = Suite(
    library="kombu==5.7.0",
    needs=("amqp==5.4.2", "vine==5.1.0"),
    tests=("t/integration/test_py_amqp.py",),
    passed=51,
)

CELERY: Final = Suite(
    library="celery==5.7.0",
    needs=("kombu==5.7.0", "amqp==5.4.2", "vine==5.1.0", "billiard==4.3.2", "pydantic==2.14.4"),
    tests=(
        "-pcelery.contrib.pytest",
        "t/integration/test_tasks.py",
        "t/integration/test_inspect.py",
        "t/integration/test_serialization.py",
    ),
    passed=63,
)
"""With results by the broker itself (rpc): what needs Redis skips itself."""


NAMEKO: Final = Suite(
    library="nameko==2.14.1",
    needs=("kombu==5.7.0", "amqp==5.4.2", "eventlet==0.41.3", "werkzeug==2.2.3", "websocket-client==0.48.0"),
    tests=(
        "-knot SSL and not ssl",
        "test/test_broker.py",
        "test/test_events.py",
        "test/test_handle_result.py",
        "test/test_messaging.py",
        "test/test_queue_consumer.py",
        "test/test_rpc.py",
        "test/test_serialization.py",
        "test/test_service_runner.py",
        "test/standalone/test_rpc_proxy.py",
        "test/testing/test_pytest_plugin.py",
        "test/testing/test_utils.py",
    ),
    passed=210,
    options=lambda broker: (
        "--suppress-nameko-eventlet-notification",
        f"--rabbit-api-uri=http://guest:guest@{broker.host}:{broker.configuration.http_port}",
        f"--amqp-uri=pyamqp://guest:guest@{broker.host}:{broker.port}/",
    ),
    runner=("pytest==7.4.4", "pytest-timeout==1.4.2", "setuptools==80.9.0"),
    command=("nameko", "test"),
)
"""Each test makes a virtual host over HTTP, and looks there at what it has published. Those of a proxy that breaks
connections skip themselves.
"""


def run(
    *command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True)


def pip(python: Path, *arguments: str | Path) -> None:
    """Run pip; skip the test when there is no index of packages to ask."""
    command = (python, "-m", "pip", *arguments, "--retries", "1", "--disable-pip-version-check")
    result = run(*command)
    if result.returncode and UNREACHABLE in result.stderr:
        pytest.skip(f"no package index can be reached: {result.stderr.splitlines()[-1]}")
    assert result.returncode == 0, result.stderr


def unpack(suite: Suite, python: Path, directory: Path) -> Path:
    """Return the directory of the unpacked distribution, which `python` has installed with what it needs."""
    pip(python, "download", "-q", "--no-deps", "--no-binary", ":all:", "-d", directory, suite.library)
    (archive,) = directory.glob("*.tar.gz")
    pip(python, "install", "-q", archive, *suite.needs, *suite.runner)
    with tarfile.open(archive) as content:
        content.extractall(directory, filter="data")
    return directory / archive.name.removesuffix(".tar.gz")


def outcomes(suite: Suite, broker: BrokerProcess, directory: Path) -> tuple[dict[str, str], str]:
    """Return what became of each test, and everything the runner wrote."""
    environment = directory / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    source = unpack(suite, environment / "bin" / "python", directory)
    url = f"pyamqp://guest:guest@{broker.host}:{broker.port}//"
    settings = {
        "PATH": f"{environment / 'bin'}:{os.environ['PATH']}",
        "HOME": str(directory),
        "RABBITMQ_HOST": broker.host,
        "RABBITMQ_5672_TCP": str(broker.port),
        "TEST_BROKER": url,
        "TEST_BACKEND": "rpc",
        "WORKER_LOGLEVEL": "INFO",
    }
    arguments = ("-q", "-rA", "-p", "no:cacheprovider", *suite.options(broker), *suite.tests)
    report = run(*suite.command, *arguments, cwd=source, env=settings)
    found = (OUTCOME.match(line) for line in report.stdout.splitlines())
    return {each[2]: each[1] for each in found if each}, report.stdout + report.stderr


@pytest.fixture
def managed_broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    """A broker of this test's own with the HTTP API."""
    folder = tmp_path / "broker"
    broker = BrokerProcess(folder, NodeConfiguration(f"jdbc:sqlite:{folder}/data/mb.db", http_port=quiet_port()))
    broker.start()
    yield broker
    print(broker.log)
    broker.stop()


@pytest.mark.slow
@pytest.mark.parametrize("suite", [KOMBU, CELERY, NAMEKO], ids=lambda suite: suite.library)
def test_the_suite_of_a_client_finds_here_what_it_counts_on(
    suite: Suite, managed_broker: BrokerProcess, tmp_path: Path
) -> None:
    found, report = outcomes(suite, managed_broker, tmp_path)
    failed = {name for name, outcome in found.items() if outcome in ("FAILED", "ERROR")}
    assert failed == suite.failures.keys(), report
    assert Counter(found.values())["PASSED"] == suite.passed, report
