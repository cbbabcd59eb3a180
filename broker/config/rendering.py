"""The effective configuration as text, for `--show-config`.

Secrets are not shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import SecretStr

from broker.config.binding import origin_key
from broker.config.configuration import Configuration
from broker.config.files import FILES, LOG4J
from broker.config.layout import Layout
from broker.config.masking import MASK, mask
from broker.config.place import Place
from broker.config.values import Section

_PORTS = ("amqp_port", "amqps_port", "thrift_port")


def show(config: Configuration) -> str:
    """Return every effective value as `element = value  (origin)`, file by file, and the effective ports.

    Elements without effect follow the others of their file, if the file has them, with the reason.
    """
    lines = []
    for file in FILES:
        lines.append(f"# {file.name}")
        if file.section:
            lines += _section(getattr(config, file.section), file.layout, (), file.name, config.origins)
        else:
            lines += _section(config, file.layout, (), file.name, config.origins)
        for place, given in config.accepted.get(file.name, {}).items():
            is_of_others = place[-2:-1] == ("property[*]",)  # of any name, so any of them may be a secret
            text = MASK if is_of_others and given.value else _text(given.value)
            lines.append(_line(place, text, f"{config.origins[origin_key(file.name, place)]}; no effect: {given.why}"))
        lines.append("")
    if levels := _levels(config):
        lines += [f"# {LOG4J}", *levels, ""]
    lines.append("# ports after the offset")
    lines += [f"{name} = {getattr(config, name)}" for name in _PORTS]
    return "\n".join(lines)


def _levels(config: Configuration) -> list[str]:
    """Return the loggers of log4j that have a counterpart here; the root's level is that of `logging/level`."""
    loggers = config.log4j.loggers.items()
    return [_line((name,), level, config.origins[origin_key(LOG4J, (name,))]) for name, level in loggers]


def _section(section: Section, layout: Layout, path: Place, file: str, origins: Mapping[str, str]) -> Iterator[str]:
    for entry in layout.entries:
        if not entry.field:
            continue
        value = getattr(section, entry.field)
        here = (*path, entry.alias)
        if entry.below and entry.is_list:
            for index, item in enumerate(value):
                yield from _section(item, entry.below, (*here, index), file, origins)
        elif entry.below:
            yield from _section(value, entry.below, here, file, origins)
        else:
            yield _line(here, _text(value), origins.get(origin_key(file, here), "default"))


def _line(path: Place, value: str, origin: str) -> str:
    place = ""
    for part in path:
        place += f"[{part + 1}]" if isinstance(part, int) else f"/{part}"
    return f"{place[1:]} = {' '.join(value.split())}  ({origin})"


def _text(value: Any) -> str:
    if isinstance(value, SecretStr):
        return MASK if value.get_secret_value() else ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(value)
    return mask(str(value))
