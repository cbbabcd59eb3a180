"""What tells a node from the others on its machine, read alone: a whole configuration takes ten times as long.

The layouts here are parts of those of the files, and are bound as these are; a test holds both equal. What needs more
than that is left to `loading`. Must not import pydantic: see `place`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from broker.config import xml_reader
from broker.config.binding import Reading, bind, override
from broker.config.file_places import BROKER_XML, CARBON, DATASOURCES, OVERRIDES, Places, found, main_file
from broker.config.layout import Entry, Layout
from broker.config.secure_vault import SecureVault
from broker.config.store_place import place_of
from broker.errors import ConfigError

_HIGHEST_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class NodePlace:
    """Where a node has its store and its listeners: `path` is that of an embedded store, the next three are of a
    server's.
    """

    control_socket: str
    """That of `management/controlSocket`; empty for the built-in one."""
    path: Path | None
    host: str
    port: int
    database: str
    amqp_port: int
    amqps_port: int


def _section(alias: str, *entries: Entry, is_list: bool = False) -> Entry:
    return Entry("", alias, None, below=Layout(entries, is_part=True), is_list=is_list)


def _text(alias: str, default: Any = "", *, may_be_in_file: bool = False) -> Entry:
    return Entry("", alias, default, may_be_in_file=may_be_in_file)


_STORE: Final = "WSO2MBStoreDB"
"""The datasource that is there without a file."""
_ROOTS: Final[Mapping[Places, str]] = {BROKER_XML: "broker", DATASOURCES: "datasources-configuration", CARBON: "Server"}
LAYOUTS: Final[Mapping[Places, Layout]] = {
    BROKER_XML: Layout(
        [
            _section("management", _text("controlSocket")),
            _section("persistence", _section("messageStore", _text("property[dataSource]", _STORE))),
            _section(
                "transports",
                _section(
                    "amqp",
                    _section("defaultConnection", _text("@port", 5672)),
                    _section("sslConnection", _text("@port", 8672)),
                ),
            ),
        ],
        is_part=True,
    ),
    DATASOURCES: Layout(
        [
            _section(
                "datasources",
                _section(
                    "datasource",
                    _text("name", "WSO2_MB_STORE_DB"),
                    _section("jndiConfig", _text("name")),
                    _section(
                        "definition",
                        _section(
                            "configuration",
                            _text("url", "jdbc:sqlite:./broker-data/mb.db", may_be_in_file=True),
                            _text("dataSourceClassName"),
                            _section("dataSourceProps", _text("property[URL]", may_be_in_file=True)),
                        ),
                    ),
                    is_list=True,
                ),
            )
        ],
        is_part=True,
    ),
    CARBON: Layout([_section("Ports", _text("Offset", 0))], is_part=True),
}
"""The elements that are read."""


def read_node_place(path: Path, environ: Mapping[str, str]) -> NodePlace | None:
    """Return what the configuration at `path`, as `loading.load` takes it, says of the place of its node; None where
    that takes the whole configuration to read. What else is in it is not judged.
    """
    main = main_file(path)
    try:
        values = {places: _values(places, found(places, main), main.parent, environ) for places in LAYOUTS}
        return _place(values)
    except (ConfigError, ValueError):
        return None  # loading tells what is wrong


def _values(places: Places, file: Path | None, folder: Path, environ: Mapping[str, str]) -> Mapping[str, Any]:
    """Return the values of one file, by the names of their elements. Raises ValueError."""
    label = str(file or places[0])
    reading = Reading(label, file.parent if file else folder, environ, SecureVault(folder, environ))
    raw: dict[str, Any] = {}
    if file is not None:
        roots = xml_reader.parse(xml_reader.read_bytes(file, label), label)
        if len(roots) != 1 or roots[0].name.lower() != _ROOTS[places].lower():
            raise ValueError("a sequence of fragments")
        raw = bind(LAYOUTS[places], roots[0], reading)
    for variable, target, element in OVERRIDES:
        if target == places:
            override(raw, element, variable, reading)
    if reading.errors:
        raise ValueError(reading.errors[0][1])
    return raw


def _place(values: Mapping[Places, Mapping[str, Any]]) -> NodePlace:
    def at(places: Places, *place: str) -> Any:
        return _at(values[places], place, LAYOUTS[places].default(place))

    offset = _port(at(CARBON, "Ports", "Offset"))
    ports = [
        _port(at(BROKER_XML, "transports", "amqp", connection, "@port"))
        for connection in ("defaultConnection", "sslConnection")
    ]
    name = at(BROKER_XML, "persistence", "messageStore", "property[dataSource]")
    store = place_of(_url_of(values[DATASOURCES], name))
    amqp, amqps = (port + offset if port else 0 for port in ports)
    socket = at(BROKER_XML, "management", "controlSocket")
    return NodePlace(socket, store.path, store.host, store.port, store.database, amqp, amqps)


def _at(raw: Mapping[str, Any], place: Sequence[str], default: Any) -> Any:
    value: Any = raw
    for name in place:
        if name not in value:
            return default
        value = value[name]
    return value


def _port(value: Any) -> int:
    text = str(value)
    if not (text.isascii() and text.isdecimal() and int(text) <= _HIGHEST_PORT):
        raise ValueError(f"'{text}' is no port")
    return int(text)


def _url_of(raw: Mapping[str, Any], wanted: str) -> str:
    """Return the URL of the datasource with this JNDI name or else with this name. Raises ValueError."""
    sources = _at(raw, _SOURCE, [{"jndiConfig": {"name": _STORE}}])
    by_name = {_of(source, "name"): source for source in reversed(sources)}
    by_jndi_name = {_of(source, "jndiConfig", "name") or _of(source, "name"): source for source in reversed(sources)}
    source = by_jndi_name.get(wanted, by_name.get(wanted))
    if source is None:
        raise ValueError(f"no datasource '{wanted}'")
    of_xa = _of(source, *_POOL, "dataSourceProps", "property[URL]")
    return of_xa if of_xa and _of(source, *_POOL, "dataSourceClassName") else _of(source, *_POOL, "url")


_SOURCE: Final = ("datasources", "datasource")
_POOL: Final = ("definition", "configuration")


def _of(source: Mapping[str, Any], *place: str) -> str:
    text: str = _at(source, place, LAYOUTS[DATASOURCES].default((*_SOURCE, *place)))
    return text
