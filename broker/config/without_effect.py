"""Says in one line which elements of the files ask for something that this broker does not do.

An element asks for something when its value is neither the default nor one that WSO2 ships, and no switch around it is
off. A section without any effect is named as a whole when it has a switch or several of its elements ask. `rendering`
shows each element with its reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

from broker.config.configuration import Configuration
from broker.config.element_kinds import Accepted, Given
from broker.config.files import FILES, ConfigFile
from broker.config.layout import Entry, Layout
from broker.config.place import Place

_MAX_NAMES: Final = 20
_SWITCHES: Final = ("@enabled", "@enable", "enabled")

Names = tuple[str, ...]


def accepted_without_effect(config: Configuration) -> str:
    """Return the line, `accepted without effect: mqtt, …`; nothing when no element asks in vain."""
    names = [name for file in FILES for name in _names_in(file, config)]
    if not names:
        return ""
    if len(names) > _MAX_NAMES:
        names[_MAX_NAMES:] = [f"and {len(names) - _MAX_NAMES} more, which --show-config lists"]
    return f"accepted without effect: {', '.join(names)}"


def _names_in(file: ConfigFile, config: Configuration) -> Iterator[str]:
    given = _by_names(config.accepted.get(file.name, {}))
    if not given:
        return
    model = getattr(config, file.section) if file.section else config
    asking = list(_asking(file.layout, model, given, ()))
    if asking and not _has_effect(file.layout):
        yield file.name
        return
    yield from (_short(names) for names in asking)


def _by_names(accepted: Mapping[Place, Given]) -> dict[Names, list[Any]]:
    """Return the values by the names of their elements; those of repeated elements together."""
    given: dict[Names, list[Any]] = {}
    for place, one in accepted.items():
        given.setdefault(tuple(part for part in place if isinstance(part, str)), []).append(one.value)
    return given


def _asking(layout: Layout, model: Any, given: Mapping[Names, list[Any]], path: Names) -> Iterator[Names]:
    """Yield the names of the sections and elements that ask for something."""
    switch = _switch_of(layout)
    is_off = switch is not None and not _is_on(switch, model, given, path)
    for entry in [switch] if switch and is_off else layout.entries:
        here = (*path, entry.alias)
        if entry.below:
            below = list(_asking(entry.below, _part(model, entry), given, here))
            yield from [here] if _is_told_as_one(entry.below, below) else below
        elif entry.accepted and _asks(entry, entry.accepted, given, here):
            yield here


def _is_told_as_one(section: Layout, asking: list[Names]) -> bool:
    if not asking or _has_effect(section):
        return False
    return len(asking) > 1 or _switch_of(section) is not None or section.entries[0].is_mapping


def _switch_of(section: Layout) -> Entry | None:
    return next((entry for entry in section.entries if entry.alias in _SWITCHES), None)


def _is_on(switch: Entry, model: Any, given: Mapping[Names, list[Any]], path: Names) -> bool:
    if switch.field and model is not None:
        return bool(getattr(model, switch.field))
    return any(given.get((*path, switch.alias), [switch.default]))


def _part(model: Any, entry: Entry) -> Any:
    return getattr(model, entry.field) if model is not None and entry.field and not entry.is_list else None


def _asks(entry: Entry, accepted: Accepted, given: Mapping[Names, list[Any]], here: Names) -> bool:
    if not accepted.asks:
        return False
    if entry.is_mapping:
        return any(names[:-1] == here for names in given)
    return any(value != accepted.default and value not in accepted.shipped for value in given.get(here, ()))


def _has_effect(layout: Layout) -> bool:
    return any(_has_effect(entry.below) if entry.below else entry.field for entry in layout.entries)


def _short(names: Names) -> str:
    """Return the end of a path that no other element of any file has."""
    lengths = range(1, len(names) + 1)
    return "/".join(next((names[-n:] for n in lengths if _ends()[names[-n:]] == 1), names))


@cache
def _ends() -> Counter[Names]:
    """Count how many elements of all files have a path with this end."""
    return Counter(names[start:] for file in FILES for names in _paths(file.layout, ()) for start in range(len(names)))


def _paths(layout: Layout, path: Names) -> Iterator[Names]:
    for entry in layout.entries:
        here = (*path, entry.alias)
        yield here
        if entry.below:
            yield from _paths(entry.below, here)
