"""Loads `broker.xml` and the files beside it into one validated `Configuration`.

`load` is the only way in: it finds the files, applies the environment variables, validates everything once and reports
all wrong values together. It does not log: warnings are part of the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

from broker.config import log4j, properties, xml_reader
from broker.config.accepted import RULES
from broker.config.binding import Reading, adopt, bind, origin_key, override, place_roots, spell
from broker.config.broker_xml import LoggingSection
from broker.config.configuration import Configuration
from broker.config.connection_options import connection_options
from broker.config.datasources import DataSource, Datasources
from broker.config.file_places import OVERRIDES, PORT, SECRET, found, main_file
from broker.config.files import (
    AXIS2,
    BROKER_XML,
    DATASOURCES,
    FILES,
    HAZELCAST,
    LOG4J,
    REGISTRY,
    USER_MGT,
    ConfigFile,
)
from broker.config.judging import keep_rules, set_aside, validate
from broker.config.peers_judging import judge_peers
from broker.config.place import Place, one_line
from broker.config.registry_judging import judge_registry
from broker.config.secure_vault import SecureVault
from broker.config.ssl_connection import TlsListener
from broker.config.user_store_judging import judge_user_store
from broker.config.values import Section
from broker.config.xml_reader import XmlElement
from broker.errors import ConfigError
from broker.machine.address import is_beyond_loopback

_AMQP_TLS: Place = ("transports", "amqp", "sslConnection")
_HTTP_TLS: Place = ("management", "http", "sslConnection")
_METRICS_TLS: Place = ("management", "metrics", "sslConnection")
_THRIFT_PORT: Place = ("coordination", "thriftServerPort")
_PARTITIONS: Place = ("recovery", "networkPartitionsDetection", "@enabled")
_MINIMUM: Place = ("recovery", "networkPartitionsDetection", "minimumClusterSize")
_LEVEL: Place = ("logging", "level")
_CLUSTERING: Place = ("clustering", "@enable")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid configuration, the warnings about it, and the files it was read from."""

    config: Configuration
    warnings: list[str]
    files: list[Path]

    def with_definitions(self, path: str) -> Loaded:
        """Return this configuration with another file of definitions to import at the start."""
        management = self.config.management.model_copy(update={"load_definitions": path})
        return replace(self, config=self.config.model_copy(update={"management": management}))


def load(path: Path | None, environ: Mapping[str, str]) -> Loaded:
    """Read the configuration at `path`: `broker.xml`, its folder, the home around it, or None for the defaults.

    Raises ConfigError with one line for each wrong value, `file:line: element: what was expected`.
    """
    main = main_file(path) if path else None
    folder = main.parent if main else Path()
    sections: dict[str, Any] = {}
    files: list[Path] = []
    readings: dict[str, Reading] = {}
    vault = SecureVault(folder, environ)
    for file in FILES:
        place = found(file.places, main) if main else None
        reading = Reading(str(place or file.name), place.parent if place else folder, environ, vault)
        readings[file.name] = reading
        if place:
            files.append(place)
        model = _read(file, place, reading)
        if model is not None:
            sections |= {file.section: model} if file.section else dict(model)
    if main and (path_of_levels := folder / LOG4J).is_file():
        files.append(path_of_levels)
        reading = readings[LOG4J] = Reading(str(path_of_levels), folder, environ, vault)
        sections |= _read_levels(path_of_levels, reading, readings[BROKER_XML.name], sections.get("logging"))
    if not _errors(readings):
        accepted = {name: reading.accepted for name, reading in readings.items()}
        config = Configuration(**sections, origins=_origins(readings), accepted=accepted)
        _judge_together(config, readings)
    if errors := _errors(readings):
        raise ConfigError("\n".join(errors))
    warnings = [text for reading in readings.values() for _, text in sorted(reading.warnings, key=itemgetter(0))]
    return Loaded(config, [*warnings, *map(one_line, vault.warnings)], [*files, *vault.files])


def files_of(path: Path) -> list[tuple[ConfigFile, Path]]:
    """Return the files of the configuration at `path`, as `load` takes it, that are there; `broker.xml` first."""
    main = main_file(path)
    there = ((file, found(file.places, main)) for file in FILES)
    return [(file, place) for file, place in there if place is not None]


def _read(file: ConfigFile, path: Path | None, reading: Reading) -> Section | None:
    raw: dict[str, Any] = {}
    if path:
        try:
            content = xml_reader.read_bytes(path, reading.label)
            root = _xml_root(file, content, reading) if file.root else _properties_root(content, reading)
        except ConfigError as error:
            reading.errors.append((0, one_line(str(error))))
            return None
        raw = bind(file.layout, root, reading, home=file.root or file.name)
    for variable, places, element in OVERRIDES:
        if places == file.places:
            override(raw, element, variable, reading)
    set_aside(file.layout, raw, reading)
    keep_rules(RULES.get(file.name, ()), file.layout, reading)
    return validate(file.model, raw, reading)


def _read_levels(
    path: Path, reading: Reading, broker_xml: Reading, logging: LoggingSection | None
) -> dict[str, Section]:
    """Return the sections of `log4j.properties`; the root's level counts when `broker.xml` says nothing of its own."""
    try:
        levels = log4j.read(xml_reader.read_bytes(path, reading.label), reading.label)
    except ConfigError as error:
        reading.errors.append((0, one_line(str(error))))
        return {}
    for name, line in levels.lines.items():
        reading.note((name,), line)
    reading.warnings += [(0, warning) for warning in levels.warnings]
    if not levels.root or logging is None or _LEVEL in broker_xml.origins:
        return {"log4j": levels.log4j}
    broker_xml.origins[_LEVEL] = reading.origins[("",)]
    return {"log4j": levels.log4j, "logging": logging.model_copy(update={"level": levels.root})}


def _xml_root(file: ConfigFile, content: bytes, reading: Reading) -> XmlElement:
    root = place_roots(file.layout, file.root, xml_reader.parse(content, reading.label), reading.label)
    adopt(file.layout, root, reading)
    return root


def _properties_root(content: bytes, reading: Reading) -> XmlElement:
    root = XmlElement("", 1)
    for entry in properties.parse(content, reading.label):
        root.children.append(XmlElement(entry.key, entry.line, text=entry.value))
    return root


def _judge_together(config: Configuration, readings: Mapping[str, Reading]) -> None:
    """Report errors that concern several files or sections together."""
    broker_xml = readings[BROKER_XML.name]
    amqp = config.transports.amqp
    ports = [(_THRIFT_PORT, config.coordination.thrift_server_port)]
    ports += [(PORT, amqp.default_connection.port)] if amqp.default_connection.enabled else []
    tls: dict[Place, TlsListener] = {
        _AMQP_TLS: amqp.ssl_connection,
        _HTTP_TLS: config.management.http.ssl_connection,
        _METRICS_TLS: config.management.metrics.ssl_connection,
    }
    ports += [((*place, "@port"), each.port) for place, each in tls.items() if each.enabled]
    for element, port in ports:
        if port and port + config.carbon.offset > 65535:
            broker_xml.refuse(element, f"'{port}' plus the port offset {config.carbon.offset} is above 65535")
    for element, connection in tls.items():
        _warn_of_tls_versions(connection, (*element, "sslEnabledProtocols"), broker_xml)
    _judge_names(config.datasources, readings[DATASOURCES.name])
    _judge_store(config, broker_xml, readings[DATASOURCES.name])
    judge_user_store(config, readings[USER_MGT.name])
    judge_registry(config, readings[REGISTRY.name])
    if config.is_clustered:
        _judge_cluster(config, broker_xml, readings[AXIS2.name], readings[HAZELCAST.name])
    elif config.recovery.network_partitions_detection.enabled:
        line = broker_xml.lines.get(_PARTITIONS, 1)
        broker_xml.warn(line, f"{spell(_PARTITIONS)}: 'true' has no effect: this node is in no cluster")


def _warn_of_tls_versions(connection: TlsListener, place: Place, reading: Reading) -> None:
    if connection.enabled and connection.outdated_tls_versions:
        line = reading.lines.get(place, 1)
        reading.warn(
            line,
            f"{spell(place)}: {', '.join(connection.outdated_tls_versions)} is no longer safe and left out;"
            f" clients get {' or '.join(connection.tls_versions)}",
        )


def _judge_store(config: Configuration, broker_xml: Reading, datasources: Reading) -> None:
    messages, context = config.persistence.message_store, config.persistence.context_store
    names = {"messageStore": messages.data_source}
    if context.data_source != messages.data_source:
        names["contextStore"] = context.data_source
        line = broker_xml.lines.get(("persistence", "contextStore"), 1)
        broker_xml.warn(line, "contextStore has no datasource of its own here: messageStore's keeps everything")
    for element, name in names.items():
        try:
            config.datasources.resolve(name)
        except ValueError as error:
            broker_xml.refuse(("persistence", element, "property[dataSource]"), str(error))
    if source := config.datasources.find(messages.data_source):
        _judge_datasource(source, config.datasources.datasources.datasource.index(source), datasources)


def _judge_names(datasources: Datasources, reading: Reading) -> None:
    """Refuse a datasource whose JNDI name an earlier one has: only one of them could be meant."""
    first: dict[str, int] = {}
    for index, source in enumerate(datasources.datasources.datasource):
        earlier = first.setdefault(source.jndi_name, index)
        if earlier != index:
            other = datasources.datasources.datasource[earlier]
            line = reading.lines.get(_name_of(earlier, other))
            reading.refuse(
                _name_of(index, source),
                f"'{source.jndi_name}' of datasource '{source.name}' is the JNDI name of datasource '{other.name}' too,"
                f" at {reading.label}:{line}; name one of them differently",
            )


def _name_of(index: int, source: DataSource) -> Place:
    """Return the place of what names a datasource."""
    place: Place = ("datasources", "datasource", index)
    return (*place, "jndiConfig", "name") if source.jndi_config.name else (*place, "name")


def _judge_datasource(source: DataSource, index: int, reading: Reading) -> None:
    """Report errors and warnings about the datasource in use; the other ones belong to other parts of WSO2's server."""
    pool = source.definition.configuration
    place: Place = ("datasources", "datasource", index, "definition", "configuration")
    url = (*place, "dataSourceProps", "property[URL]") if pool.is_xa else (*place, "url")
    try:
        _, warnings = connection_options(pool.store_url)
    except ValueError as error:
        reading.refuse(url, str(error))
        return
    for warning in warnings:
        reading.warn(reading.lines.get(url, 1), f"{spell(url)}: {warning}")
    _warn_of((*place, "defaultAutoCommit"), reading, wanted=True)


def _judge_cluster(config: Configuration, broker_xml: Reading, axis2: Reading, hazelcast: Reading) -> None:
    """Report every setting that does not allow this node to be a member of a cluster."""
    alone = "set deployment/mode of broker.xml to standalone"
    try:
        is_shared = config.store_url.engine in ("mysql", "postgresql")
    except ValueError:
        is_shared = True  # what is wrong with the datasource was reported already
    if not is_shared:
        axis2.refuse(
            _CLUSTERING,
            "a cluster needs MariaDB, MySQL or PostgreSQL, which its nodes share; name such a database as "
            f"'{config.persistence.message_store.data_source}' in {DATASOURCES.name}, or {alone}",
        )
    coordination = config.coordination
    if config.meets_among_peers:
        judge_peers(config, broker_xml, axis2, hazelcast)
    if config.recovery.network_partitions_detection.enabled and config.minimum_cluster_size < 2:
        broker_xml.refuse(
            _MINIMUM if _MINIMUM in broker_xml.lines else _PARTITIONS,
            "a node always sees itself, so at least 2 members must be asked for; (n/2)+1 of n nodes are recommended",
        )
    host = coordination.thrift_server_host
    if not coordination.cluster_secret.get_secret_value() and is_beyond_loopback(host):
        broker_xml.refuse(
            SECRET,
            f"thriftServerHost '{host}' is not loopback, so the nodes need a shared secret; "
            "set it here or in the environment variable BROKER_CLUSTER_SECRET, the same on all nodes",
        )


def _warn_of(place: Place, reading: Reading, *, wanted: bool) -> None:
    """Warn that an accepted element has no effect if the file sets it to `wanted`."""
    given = reading.accepted.get(place)
    if given and given.value is wanted:
        reading.warn(reading.lines[place], f"{spell(place)}: '{str(wanted).lower()}' has no effect: {given.why}")


def _errors(readings: Mapping[str, Reading]) -> list[str]:
    return [text for reading in readings.values() for _, text in sorted(reading.errors, key=itemgetter(0))]


def _origins(readings: Mapping[str, Reading]) -> dict[str, str]:
    return {
        origin_key(name, path): origin for name, reading in readings.items() for path, origin in reading.origins.items()
    }
