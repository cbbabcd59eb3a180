"""The effective configuration as text, for `--show-config`.

Knows the files, their models and where each value came from. Writes no secret.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import SecretStr

from broker.config.binding import Place, origin_key
from broker.config.configuration import Configuration
from broker.config.files import FILES
from broker.config.layout import layout_of
from broker.config.store_url import MASK, mask
from broker.config.values import Section

_PORTS = ("amqp_port", "amqps_port", "thrift_port")


def show(config: Configuration) -> str:
    """Return every value as `element = value  (origin)`, file by file, and the ports that result."""
    lines = []
    for file in FILES:
        lines.append(f"# {file.name}")
        if file.section:
            lines += _section(getattr(config, file.section), (), file.name, config.origins)
        else:
            for entry in layout_of(file.model).entries:
                lines += _section(getattr(config, entry.field), (entry.alias,), file.name, config.origins)
        lines.append("")
    lines.append("# ports after the offset")
    lines += [f"{name} = {getattr(config, name)}" for name in _PORTS]
    return "\n".join(lines)


def _section(section: Section, path: Place, file: str, origins: Mapping[str, str]) -> Iterator[str]:
    for entry in layout_of(type(section)).entries:
        value = getattr(section, entry.field)
        here = (*path, entry.alias)
        if isinstance(value, Section):
            yield from _section(value, here, file, origins)
        elif entry.is_list:
            for index, item in enumerate(value):
                yield from _section(item, (*here, index), file, origins)
        elif entry.is_mapping:
            for name, text in value.items():
                yield _line((*here, name), MASK if "password" in name.lower() else mask(text), file, origins)
        else:
            yield _line(here, _text(value), file, origins)


def _line(path: Place, value: str, file: str, origins: Mapping[str, str]) -> str:
    place = ""
    for part in path:
        place += f"[{part + 1}]" if isinstance(part, int) else f"/{part}"
    return f"{place[1:]} = {' '.join(value.split())}  ({origins.get(origin_key(file, path), 'default')})"


def _text(value: Any) -> str:
    if isinstance(value, SecretStr):
        return MASK if value.get_secret_value() else ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(value)
    return mask(str(value))
