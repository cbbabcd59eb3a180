"""Asks a node over its control socket. Imports little, for programs that must start at once."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def ask(path: Path, request: Mapping[str, Any], timeout: float | None = None) -> dict[str, Any]:
    """Send a request to the control socket and return the answer; wait `timeout` seconds at most for each part of it.

    Raises OSError when no node answers.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        connection.connect(os.fspath(path))
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile("rb") as answers:
            line = answers.readline()
    if not line:
        raise OSError("the node has closed the connection")
    found: dict[str, Any] = json.loads(line)
    return found
