"""Hosts on a network that can be split: each has network and file systems of its own, on this machine.

Knows Linux' namespaces and bridges; must not know what runs on a host. It takes root, and leaves nothing behind when
this process ends, in whatever way.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

PROGRAMS = ("ip", "nsenter", "unshare")
_FIRST, _OUTSIDE = "198.18.0", "198.19.0"
"""Networks that are kept for tests of devices (RFC 2544): between hosts, and from this process to each of them."""

_numbers = itertools.count()


class NetworkMissing(Exception):
    """This machine or this user cannot have hosts; the text is one line."""


class Namespaces:
    """A process that does nothing, in a network and with mounts of its own; both go with it."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "--uts", "--", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        self._holder.stdin.write(b"in\n")
        self._holder.stdin.flush()
        if self._holder.stdout.readline() != b"in\n":  # it answers when it is in its namespaces
            self.close()
            raise NetworkMissing("this user may not make network namespaces: be root")

    @property
    def pid(self) -> int:
        return self._holder.pid

    def inside(self, command: Sequence[str], user: str | None = None, *, at: Path = Path("/")) -> list[str]:
        """Return the command that runs `command` there, in the folder `at`, as `user` or as the present one."""
        who = []
        if user is not None:
            account = pwd.getpwnam(user)
            who = [f"--setuid={account.pw_uid}", f"--setgid={account.pw_gid}"]
        return ["nsenter", f"--target={self.pid}", "--net", "--mount", "--uts", f"--wdns={at}", *who, "--", *command]

    def run(self, *command: str) -> None:
        subprocess.run(self.inside(command), check=True, capture_output=True)

    def processes(self) -> list[psutil.Process]:
        """Return what runs there, besides the holder."""
        here = os.readlink(f"/proc/{self.pid}/ns/net")
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(OSError, psutil.Error):
                if process.pid != self.pid and os.readlink(f"/proc/{process.pid}/ns/net") == here:
                    found.append(process)
        return found

    def kill(self) -> None:
        """Kill what runs there; when this returns it is dead."""
        while found := [process for process in self.processes() if process.status() != psutil.STATUS_ZOMBIE]:
            for process in found:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(found, timeout=1.0)

    def close(self) -> None:
        for pipe in (self._holder.stdin, self._holder.stdout):
            assert pipe is not None
            pipe.close()
        self._holder.wait(10)


class Host(Namespaces):
    """One host: `address` is where other hosts reach it, `outside` where this process does, split or not."""

    def __init__(self, network: Network, number: int, name: str = "") -> None:
        super().__init__()
        self.name = name
        self.number = number
        self.address = f"{_FIRST}.{number + 1}"
        self.outside = f"{_OUTSIDE}.{number + 1}"
        for name, address in (("host", self.address), ("out", self.outside)):
            network.plug(f"{name}{number}", self.pid)
            self.run("ip", "address", "add", f"{address}/24", "dev", f"{name}{number}p")
            self.run("ip", "link", "set", f"{name}{number}p", "up")
        self.run("ip", "link", "set", "lo", "up")

    def close(self) -> None:
        self.kill()
        super().close()


class Network:
    """So many hosts, all of which reach each other at first."""

    def __init__(self, size: int, names: Sequence[str] = ()) -> None:
        missing = next((each for each in PROGRAMS if shutil.which(each) is None), None)
        if missing is not None:
            raise NetworkMissing(f"no {missing} on this machine: apt install iproute2 util-linux")
        if os.geteuid() != 0:
            raise NetworkMissing("hosts take network namespaces: be root")
        self._switch = Namespaces()
        self.hosts: list[Host] = []
        try:
            for bridge in ("out", *(f"part{number}" for number in range(size))):
                self._switch.run("ip", "link", "add", bridge, "type", "bridge", "forward_delay", "0")
                self._switch.run("ip", "link", "set", bridge, "up")
            self._reach_outside()
            for number in range(size):
                self.hosts.append(Host(self, number, names[number] if names else ""))
            self.unite()
        except BaseException:
            self.close()
            raise

    def _reach_outside(self) -> None:
        """Connect this process' own network with what is outside of the hosts' one."""
        own = f"hosts{os.getpid() % 10_000}.{next(_numbers)}"
        self._switch.run("ip", "link", "add", "own", "type", "veth", "peer", "name", own, "netns", str(os.getpid()))
        self._switch.run("ip", "link", "set", "own", "master", "out", "up")
        for command in (("address", "add", f"{_OUTSIDE}.254/24", "dev", own), ("link", "set", own, "up")):
            subprocess.run(["ip", *command], check=True, capture_output=True)

    def plug(self, name: str, pid: int) -> None:
        """Make a cable, `name` at the switch and `name`p in the network of the process `pid`."""
        peer = ("peer", "name", f"{name}p", "netns", str(pid))
        self._switch.run("ip", "link", "add", name, "type", "veth", *peer)
        self._switch.run("ip", "link", "set", name, "master", "out" if name.startswith("out") else "part0", "up")

    def split(self, *parts: Sequence[Host]) -> None:
        """Let nothing pass between hosts of different parts: an answer does not come, nor an error."""
        for number, hosts in enumerate(parts):
            for host in hosts:
                self._switch.run("ip", "link", "set", f"host{host.number}", "master", f"part{number}")

    def unite(self) -> None:
        """Let all hosts reach each other."""
        self.split(self.hosts)

    def close(self) -> None:
        for host in self.hosts:
            host.close()
        self._switch.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
