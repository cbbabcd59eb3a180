"""Reads definitions from files: for `python -m broker admin`, and for a node's start."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Final

import structlog

from broker.errors import AdministrationError, ConfigError
from broker.topology.administration import Administration
from broker.topology.definitions_import import Import

_TOLD: Final = 20
"""How many things that were left out the log names."""
_log = structlog.get_logger(__name__)


def read_definitions(path: str) -> object:
    """Return what a file holds. Raises `AdministrationError` if it cannot be read, or is no JSON."""
    try:
        return json.loads(Path(path).read_bytes())
    except OSError as error:
        raise AdministrationError(f"cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise AdministrationError(f"is no JSON: {error}") from error


async def load_definitions(administration: Administration, path: str) -> None:
    """Import a file of definitions. Raises `ConfigError` when that cannot be done; what came before it is made.

    It comes before `first_start`, which makes users and virtual hosts only where there are none.
    """
    try:
        definitions = Import(administration, await asyncio.to_thread(read_definitions, path))
        lines = await definitions.run()
    except AdministrationError as error:
        raise ConfigError(f"the definitions to load at the start: {path}: {error}") from error
    _log.info("definitions imported", file=path, changes=len(lines), left_out=definitions.left_out[:_TOLD])
