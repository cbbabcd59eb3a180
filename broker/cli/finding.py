"""Finds the node that is meant: what the command line says, then the environment, then contexts, then this machine."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from broker.cli.contexts import Context, contexts_path, read_contexts
from broker.cli.failure import EX_CONFIG, EX_NOPERM, EX_UNAVAILABLE, EX_USAGE, CommandFailure
from broker.cli.ways import TIMEOUT, ControlWay, HttpWay, NodeWay, split_url

if TYPE_CHECKING:
    from broker.config.node_place import NodePlace

AskPassword = Callable[[str], str | None]
"""Returns the password of a user, None where nobody can be asked."""
EMBEDDED: Final = "broker-data/mb.db.control"
"""The control socket of a node that was started in this folder as shipped."""
_DATA: Final = "broker-data/mb.db"
"""What such a node leaves there when it stops."""

_TOLD: Final = 4
"""Sockets that a message names."""


@dataclass(slots=True)
class WantedNode:
    """What the command line says about the node."""

    url: str = ""
    user: str = ""
    socket: str = ""
    config: str = ""
    context: str = ""
    ca_file: str = ""
    timeout: float = 0.0
    """Seconds to wait for an answer; 0 for the usual ones."""


def find(wanted: WantedNode, environ: Mapping[str, str], ask_password: AskPassword) -> NodeWay:
    """Return the way to the node. Raises `CommandFailure`."""
    if sum(map(bool, (wanted.url, wanted.socket, wanted.config, wanted.context))) > 1:
        raise CommandFailure(EX_USAGE, "name the node by one of --url, --socket, --config and --context")
    timeout = wanted.timeout or TIMEOUT
    if wanted.config:
        return ControlWay(_configured(wanted.config, environ), timeout)
    context = _context(wanted, environ)
    if context.url or wanted.user:
        return _http(wanted, context, environ, ask_password)
    path = Path(context.socket) if context.socket else local_socket(Path.cwd(), environ)
    return ControlWay(path, timeout)


def _context(wanted: WantedNode, environ: Mapping[str, str]) -> Context:
    if wanted.url or wanted.socket:
        return Context(wanted.url, socket=wanted.socket)
    if not wanted.context and (environ.get("BROKER_URL") or environ.get("BROKER_SOCKET")):
        return Context(environ.get("BROKER_URL", ""), socket=environ.get("BROKER_SOCKET", ""))
    contexts = read_contexts(contexts_path(environ))
    name = wanted.context or contexts.selected
    return contexts.of(name) if name else Context()


def _http(wanted: WantedNode, context: Context, environ: Mapping[str, str], ask_password: AskPassword) -> HttpWay:
    url, user, password = split_url(context.url or "http://127.0.0.1:15672")
    user = wanted.user or user or context.user or environ.get("BROKER_USER", "")
    password = password or environ.get("BROKER_PASSWORD", "")
    if not password and user in ("", context.user):
        password = context.password
    user = user or "guest"
    if not password:
        password = "guest" if user == "guest" else ask_password(user) or ""
    if not password:
        raise CommandFailure(
            EX_NOPERM, f"the password of {user} is missing: say it in BROKER_PASSWORD, or use a context"
        )
    return HttpWay(url, user, password, ca_file=wanted.ca_file or context.ca_file, timeout=wanted.timeout or TIMEOUT)


def local_socket(folder: Path, environ: Mapping[str, str]) -> Path:
    """Return the control socket of the node on this machine. Raises `CommandFailure` unless there is one."""
    embedded = folder / EMBEDDED
    if embedded.is_socket():
        return embedded
    if (folder / _DATA).exists():
        raise CommandFailure(
            EX_UNAVAILABLE,
            f"the node of this folder is stopped: {_DATA} is here, and nobody listens on {EMBEDDED}. For another node"
            " say --config or --socket",
        )
    import tempfile

    place = Path(environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    found = [path for path in sorted(place.glob(f"cordillera-{os.getuid()}-*.control")) if _answers(path)]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(map(str, found[:_TOLD]))
        raise CommandFailure(
            EX_USAGE, f"{len(found)} nodes run here: say --config of the one you mean, or --socket: {names}"
        )
    raise CommandFailure(
        EX_UNAVAILABLE,
        f"no node found: there is no {EMBEDDED} here and nothing in {place}. Say --config or --socket of a node on this"
        " machine, or --url",
    )


def _answers(path: Path) -> bool:
    """Does a node of this user listen there? Nodes that were killed leave their sockets behind; others may write to the
    folder for temporary files.
    """
    try:
        if path.stat().st_uid != os.getuid():
            return False
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(os.fspath(path))
    except OSError:
        return False
    return True


def _configured(config: str, environ: Mapping[str, str]) -> Path:
    """Return the control socket that a configuration names."""
    from broker.config.node_place import read_node_place
    from broker.errors import ConfigError
    from broker.node.control_path import control_path

    try:
        path = control_path(read_node_place(Path(config), environ) or _whole_place(config, environ))
    except (ConfigError, OSError) as error:
        raise CommandFailure(EX_CONFIG, f"--config {config}: {error}") from None
    if not path.exists() and path.is_relative_to(Path.cwd()):
        raise CommandFailure(
            EX_UNAVAILABLE,
            f"no node answers on {path}: it is not there. The data's folder in a configuration may be relative to where"
            " the node was started: run this there, or say --socket. Is the node running?",
        )
    return path


def _whole_place(config: str, environ: Mapping[str, str]) -> NodePlace:
    """Return where the node is that a configuration is of, which must be read as a whole. Raises ConfigError."""
    from broker.config.loading import load  # a third of a second

    return load(Path(config), environ).config.node_place
