"""Java, Maven and the jars of the clients: what the runs need, and what is missing of it.

Knows command lines; must not know what is run.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
WORK: Final = HERE.parents[1] / ".jms"
"""Where jars, classes and the data of nodes are kept."""
START: Final = 120.0
"""Seconds in which a node must have started, also on a busy machine."""
_COPY: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.11.0:copy-dependencies"
_PATIENCE: Final = 600.0
"""Seconds that Maven may take."""


class Missing(Exception):
    """Something is not on this machine, and cannot be had: the runs are skipped."""


@dataclass(frozen=True, slots=True)
class Client:
    """A client library."""

    name: str
    profile: str
    version: str
    context_factory: str

    @property
    def jars(self) -> Path:
        return WORK / "jars" / f"{self.name}-{self.version}"

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


_WSO2: Final = "org.wso2.andes.jndi.PropertiesFileInitialContextFactory"
CLIENTS: Final[Sequence[Client]] = (
    Client("andes-client", "wso2", "3.2.19", _WSO2),
    Client("andes-client", "wso2", "3.2.98", _WSO2),
    Client("andes-client", "wso2", "4.0.0", _WSO2),
    Client("qpid-client", "qpid", "6.4.0", "org.apache.qpid.jndi.PropertiesFileInitialContextFactory"),
)
QPID: Final = CLIENTS[-1]


class Toolchain:
    """What runs the program. Raises `Missing` when something is not there."""

    def __init__(self) -> None:
        self._java, self._javac = _found("java", "Java"), _found("javac", "a Java compiler")
        self._classes = WORK / "classes"

    def fetch(self, client: Client) -> None:
        """Let Maven copy the jars of a client, unless they are there."""
        if (client.jars / "complete").exists():
            return
        command = [_found("mvn", "Maven"), "--batch-mode", "--quiet", "-Dstyle.color=never"]
        command += ["--file", str(HERE / "pom.xml"), "-P", client.profile, f"-Dclient.version={client.version}"]
        command += [f"-DoutputDirectory={client.jars}", _COPY]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
        except subprocess.TimeoutExpired:
            raise Missing(f"Maven has not found the jars of {client} in ten minutes") from None
        if done.returncode:
            reason = next((line for line in done.stdout.splitlines() if "ERROR" in line), "")
            raise Missing(f"Maven does not find the jars of {client}: {reason[:300] or done.returncode}")
        (client.jars / "complete").touch()

    def compile(self) -> None:
        """Compile the program, for all clients alike."""
        shutil.rmtree(self._classes, ignore_errors=True)
        self._classes.mkdir(parents=True)
        sources = sorted(map(str, (HERE / "java").rglob("*.java")))
        options = ["-encoding", "UTF-8", "-d", str(self._classes), "-cp", f"{QPID.jars}/*"]
        subprocess.run([self._javac, *options, *sources], check=True)

    def command(
        self, client: Client, main: str, *arguments: str, options: Mapping[str, str] | None = None
    ) -> list[str]:
        """Return the command that runs a class of the program with a client."""
        # A client of this size needs neither much memory nor the second compiler.
        machine = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dfile.encoding=UTF-8"]
        machine += [f"-D{name}={value}" for name, value in (options or {}).items()]
        path = f"{self._classes}:{client.jars}/*"
        return [self._java, *machine, "-cp", path, f"cordillera.{main}", *arguments]


def _found(program: str, what: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise Missing(f"there is no {what} on this machine")
    return path
