"""Contexts: nodes that are remembered by a name, in a file that only its owner may read."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from broker.cli.failure import EX_CANTCREAT, EX_CONFIG, EX_USAGE, CommandFailure

LOCAL: Final = "local"
"""The context that is always there: the node on this machine."""


@dataclass(frozen=True, slots=True)
class Context:
    """How a node is reached: over HTTP, or by its control socket."""

    url: str = ""
    user: str = ""
    password: str = ""
    socket: str = ""
    ca_file: str = ""


@dataclass(frozen=True, slots=True)
class Contexts:
    """All of them, and which one is selected; empty for the node on this machine."""

    by_name: Mapping[str, Context] = field(default_factory=dict)
    selected: str = ""

    def of(self, name: str) -> Context:
        """Return a context. Raises `CommandFailure`."""
        found = Context() if name == LOCAL else self.by_name.get(name)
        if found is None:
            known = ", ".join([LOCAL, *self.by_name])
            raise CommandFailure(
                EX_USAGE, f"there is no context {name!r}: there are {known}. brokerctl context add makes one"
            )
        return found


def contexts_path(environ: Mapping[str, str]) -> Path:
    """Return where contexts are kept."""
    home = environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME") or "~").expanduser() / ".config"
    return Path(home) / "brokerctl" / "contexts.json"


def read_contexts(path: Path) -> Contexts:
    """Return the contexts of a file, none if it is not there. Raises `CommandFailure`."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            octets = file.read()
    except FileNotFoundError:
        return Contexts()
    except OSError as error:
        raise CommandFailure(EX_CONFIG, f"{path} cannot be read: {error.strerror}") from None
    if mode & 0o077:
        raise CommandFailure(EX_CONFIG, f"{path} holds passwords, and others may open it: chmod 600 {path}")
    try:
        found: dict[str, Any] = json.loads(octets)
        contexts = {str(name): Context(**context) for name, context in found["contexts"].items()}
        return Contexts(contexts, str(found.get("selected", "")))
    except (ValueError, TypeError, KeyError, AttributeError):
        raise CommandFailure(EX_CONFIG, f"{path} is no file of contexts: mend it, or remove it") from None


def write_contexts(path: Path, contexts: Contexts) -> None:
    """Replace the file by one that only its owner may read. Raises `CommandFailure`."""
    told = {"selected": contexts.selected, "contexts": {name: asdict(each) for name, each in contexts.by_name.items()}}
    fresh = path.with_name(f"{path.name}.new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(told, file, indent=2)
        fresh.replace(path)
    except OSError as error:
        raise CommandFailure(EX_CANTCREAT, f"{path} cannot be written: {error.strerror}") from None
