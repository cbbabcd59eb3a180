"""Reads definitions from files: for `python -m broker admin`, and for a node's start."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import structlog
from structlog.contextvars import bound_contextvars

from broker.auth.audit import DEFINITIONS_IMPORTED, tell
from broker.errors import AdministrationError, ConfigError
from broker.topology.administration import Administration
from broker.topology.definitions_import import TOLD, Import

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
        with bound_contextvars(by=f"the definitions in {path}"):
            await definitions.run()
            tell(_log, DEFINITIONS_IMPORTED, changes=len(definitions.lines), left_out=definitions.left_out[:TOLD])
    except AdministrationError as error:
        raise ConfigError(f"the definitions to load at the start: {path}: {error}") from error
