"""Loads the exchange types that installed packages bring as entry points (docs/exchange-types.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

import structlog

from broker.errors import ConfigError
from broker.topology.exchange import BUILT_IN, NewOwnRouter
from broker.topology.exchange_types.own import REQUIRED, OwnRouter

_log = structlog.get_logger(__name__)

GROUP: Final = "cordillera.exchange_types"


def installed_exchange_types() -> Mapping[str, NewOwnRouter]:
    """Return the exchange types of all installed packages; raises ConfigError for one that cannot be used."""
    return exchange_types_of(entry_points(group=GROUP))


def exchange_types_of(found: Iterable[EntryPoint]) -> Mapping[str, NewOwnRouter]:
    """Return the exchange types that these entry points name; raises ConfigError for one that cannot be used."""
    types: dict[str, NewOwnRouter] = {}
    for entry_point in found:
        name = entry_point.name
        if not name.startswith("x-"):
            raise _unusable(entry_point, "must have a name that begins with x-")
        if name in BUILT_IN or name in types:
            raise _unusable(entry_point, "is there already under that name")
        types[name] = partial(OwnRouter, name, _load(entry_point), _report)
        _log.info("exchange type loaded", type=name, package=_package(entry_point), of=entry_point.value)
    return types


def _load(entry_point: EntryPoint) -> Any:
    try:
        loaded = entry_point.load()
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise _unusable(entry_point, f"does not load: {reason}") from error
    lacking = [name for name in REQUIRED if not callable(getattr(loaded, name, None))]
    if lacking or not callable(loaded):
        why = f": it lacks {', '.join(lacking)}" if lacking else ""
        raise _unusable(entry_point, f"is no class with {', '.join(REQUIRED)}{why}")
    return loaded


def _unusable(entry_point: EntryPoint, what: str) -> ConfigError:
    return ConfigError(
        f"the exchange type '{entry_point.name}' of {_package(entry_point)} ({entry_point.value}) {what};"
        " mend that package or uninstall it"
    )


def _package(entry_point: EntryPoint) -> str:
    return f"{entry_point.dist.name} {entry_point.dist.version}" if entry_point.dist is not None else "some package"


def _report(type: str, error: Exception) -> None:
    _log.error("an exchange type has failed", type=type, exc_info=error)
