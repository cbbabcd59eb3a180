"""The command line that writes WSO2's configuration anew: `python -m broker convert`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from broker.config.configuration import Configuration
from broker.config.converting import Converted, convert
from broker.config.loading import load
from broker.config.secure_vault import SecureVault
from broker.config.substitution import secret_variable
from broker.errors import ConfigError
from broker.node.printable import printable

EX_OK: Final = 0
EX_SOFTWARE: Final = 70
EX_CANTCREAT: Final = 73
EX_CONFIG: Final = 78

_NOT_COMPARED: Final = {"origins", "accepted"}
"""Where values came from, and what has no effect: both change."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line behind `convert`."""
    whole = argparse.ArgumentParser(
        prog="python -m broker convert",
        description="Write what WSO2's configuration means here into a new folder, under the names of today.",
    )
    whole.add_argument("--config", metavar="PATH", required=True, help="broker.xml, its folder, or the home around it")
    whole.add_argument("--quiet", action="store_true", help="do not list what is left out")
    whole.add_argument("folder", type=Path, help="a folder that is not there yet, or is empty")
    return whole


def run(options: argparse.Namespace, config: Configuration) -> int:
    """Write the new files and return the exit code: 73 when they cannot be written, 70 when they mean another thing."""
    source, folder = Path(options.config), options.folder
    try:
        converted = convert(source, os.environ)
        _write(converted, folder)
        found = load(folder, {**os.environ, **_secrets(converted)})
    except ConfigError as error:
        return _stopped(str(error), EX_CONFIG)
    except OSError as error:
        return _stopped(f"{error.filename or folder}: {error.strerror}", EX_CANTCREAT)
    if different := list(_differences(_values(config), _values(found.config))):
        return _stopped(f"the new files mean something else in {', '.join(different)}: please report it", EX_SOFTWARE)
    if not options.quiet:
        _say("".join(f"left out: {line}\n" for line in converted.left_out), end="")
    _say("".join(f"{folder / name}: written\n" for name in converted.files), end="")
    if converted.aliases:
        names = ", ".join(secret_variable(alias) for alias in sorted(converted.aliases))
        _say(f"secrets of WSO2's vault are not copied: bring the folder security/, or set {names}")
    _say("the new files mean the same")
    return EX_OK


def _write(converted: Converted, folder: Path) -> None:
    """Write files that only their owner may read: some have passwords. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(0, "the folder is not empty: choose another one", str(folder))
    for name, text in converted.files.items():
        path = folder / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="iso-8859-1" if path.suffix == ".properties" else "utf-8") as file:
            file.write(text)


def _secrets(converted: Converted) -> dict[str, str]:
    """Return the secrets that the new files name by aliases, as variables, to read those files once."""
    if not converted.aliases:
        return {}
    vault = SecureVault(converted.folder, os.environ)
    return {secret_variable(alias): vault.secret(alias) for alias in converted.aliases}


def _values(config: Configuration) -> Mapping[str, Any]:
    return config.model_dump(exclude=_NOT_COMPARED)


def _differences(before: object, after: object, place: str = "") -> Iterator[str]:
    """Return the places at which two configurations differ; a file that is named by its absolute path is the same."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in sorted(before.keys() | after.keys()):
            yield from _differences(before.get(name), after.get(name), f"{place}/{name}" if place else str(name))
    elif before != after and not (
        isinstance(before, str) and isinstance(after, str) and Path(after) == Path(before).absolute()
    ):
        yield place


def _say(text: str, end: str = "\n") -> None:
    print(printable(text, keep="\n"), end=end, flush=True)


def _stopped(text: str, code: int) -> int:
    print(printable(text, keep="\n"), file=sys.stderr, flush=True)
    return code
