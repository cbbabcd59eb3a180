"""`log4j.properties`: how much the parts of this broker log, by the names that the loggers of WSO2's server have.

Levels are read; where and how log4j writes has no counterpart here. Names of loggers that no part stands for belong to
other software.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from broker.config import properties
from broker.config.place import one_line
from broker.config.values import Section

_LEVELS: Final = {
    "ALL": "debug",
    "TRACE": "debug",
    "DEBUG": "debug",
    "INFO": "info",
    "WARN": "warning",
    "ERROR": "error",
    "FATAL": "error",  # an error that ends a node is an error in the log
    "OFF": "error",  # so that a node does not end in silence
}
_VERBOSITY: Final = ("debug", "info", "warning", "error")
_NO_LEVEL: Final = ("", "INHERITED", "NULL")
_LOGGER: Final = re.compile(r"log4j\.(?:logger|category)\.(.+)")
_ROOT: Final = re.compile(r"log4j\.root(?:Logger|Category)")
_AUDIT: Final = "AUDIT_LOG"
_MESSAGES: Final = "org.wso2.andes.tools.utils.MessageTracer"
"""Has no level of its own, but tells of each message when it may say everything."""
_MOST: Final = ("TRACE", "ALL")
_ANDES: Final = ("org.wso2.andes", "org.wso2.carbon.andes")

PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "broker": _ANDES,
    "broker.amqp": (
        "org.wso2.andes.amqp",
        "org.wso2.andes.server.AMQChannel",
        "org.wso2.andes.server.ack",
        "org.wso2.andes.server.handler",
        "org.wso2.andes.server.protocol",
        "org.wso2.andes.server.txn",
        "qpid.message.channel",
        "qpid.message.connection",
        "qpid.protocol",
    ),
    "broker.auth": (
        "org.wso2.andes.server.security",
        "org.wso2.carbon.andes.authentication",
        "org.wso2.carbon.andes.authorization",
        "org.wso2.carbon.user",
    ),
    "broker.coordination": ("com.hazelcast", "org.wso2.andes.server.cluster", "org.wso2.carbon.core.clustering"),
    "broker.coordination.replication": (
        "org.wso2.andes.kernel.AndesContextInformationManager",
        "org.wso2.andes.server.cluster.coordination",
    ),
    "broker.coordination.slots": ("org.wso2.andes.kernel.slot", "org.wso2.andes.thrift.slot"),
    "broker.queue": (
        "MessageExpirationTask",
        "org.wso2.andes.kernel.MessageFlusher",
        "org.wso2.andes.kernel.MessageHandler",
        "org.wso2.andes.kernel.MessagingEngine",
        "org.wso2.andes.kernel.disruptor.delivery",
        "org.wso2.andes.server.queue",
        "qpid.message.queue",
    ),
    "broker.server": (
        "org.wso2.andes.server.Broker",
        "org.wso2.andes.server.transport",
        "org.wso2.andes.transport",
        "qpid.message.broker.listening",
    ),
    "broker.store": (
        "org.wso2.andes.kernel.disruptor.inbound",
        "org.wso2.andes.kernel.distruptor.inbound",
        "org.wso2.andes.server.store",
        "org.wso2.andes.store",
        "qpid.message.messagestore",
    ),
    "broker.store.carbon": ("org.wso2.carbon.registry", "org.wso2.carbon.user"),
    "broker.thrift": ("org.apache.thrift", "org.wso2.andes.thrift"),
    "broker.topology": (
        "org.wso2.andes.kernel.router",
        "org.wso2.andes.kernel.subscription",
        "org.wso2.andes.server.binding",
        "org.wso2.andes.server.exchange",
        "org.wso2.andes.server.virtualhost",
        "org.wso2.andes.subscription",
        "qpid.message.binding",
        "qpid.message.exchange",
        "qpid.message.virtualhost",
    ),
}
"""The packages of this broker, and which loggers of WSO2's server tell of the same things."""
_COUNTERPARTS: Final = frozenset(name for names in PARTS.values() for name in names)


class Log4j(Section):
    """The levels of the file, as this broker calls them."""

    loggers: Mapping[str, str] = {}
    """By the names in the file."""

    @property
    def audit(self) -> str:
        """The level of audit events; empty for that of the part they come from."""
        return self.loggers.get(_AUDIT, "")

    def level_of(self, module: str) -> str:
        """Return the level of a module of this broker: what the file says of its own name, or else of the loggers that
        tell of the same or of a part of it, the one that says most. Empty when the file says nothing of it.
        """
        if own := self._inherited(module):
            return own
        part = next((each for each in _ancestors(module) if each in PARTS), "")
        names = PARTS.get(part, ())
        levels = [level for name in names if (level := self._inherited(name))]
        levels += [level for name, level in self.loggers.items() if _counterpart(name) in names]
        return min(levels, key=_VERBOSITY.index, default="")

    def _inherited(self, name: str) -> str:
        """Return the level of a logger, or of the nearest around it that has one; the root does not count."""
        return next((self.loggers[each] for each in _ancestors(name) if each in self.loggers), "")


@dataclass(frozen=True, slots=True)
class Levels:
    """What a file holds."""

    root: str
    """The level of everything; empty when the file has none."""
    log4j: Log4j
    lines: dict[str, int]
    """Where each logger stands; the root has an empty name."""
    warnings: list[str]


def read(content: bytes, label: str) -> Levels:
    """Return the levels in the content of a file. Raises ConfigError when it is no properties file."""
    levels: dict[str, str] = {}
    lines: dict[str, int] = {}
    warnings = []
    for entry in properties.parse(content, label):
        match = _LOGGER.fullmatch(entry.key)
        if match is None and not _ROOT.fullmatch(entry.key):
            continue
        name = match[1].strip() if match else ""
        given = entry.value.split(",")[0].strip()
        level = _LEVELS.get(given.upper(), "")
        if name == _MESSAGES:
            if given.upper() in _MOST:
                warnings.append(one_line(f"{label}:{entry.line}: {entry.key}: messages are not traced; no effect"))
            continue
        if not level and given.upper() not in _NO_LEVEL and _is_known(name):
            warnings.append(
                one_line(
                    f"{label}:{entry.line}: {entry.key}: '{given}' is none of {', '.join(_LEVELS)}, and is ignored"
                )
            )
        levels[name], lines[name] = level, entry.line
    root = levels.pop("", "")
    loggers = {name: level for name, level in levels.items() if level and _is_known(name)}
    return Levels(root, Log4j(loggers=loggers), lines, warnings)


def _is_known(name: str) -> bool:
    """Is it the root, a package of this broker, or within or around a logger that a part stands for?"""
    if not name or name == _AUDIT or name.split(".")[0] == "broker":
        return True
    return bool(_counterpart(name)) or any(each.startswith(f"{name}.") for each in _COUNTERPARTS)


def _counterpart(name: str) -> str:
    """Return the nearest logger of WSO2's server around `name` that a part stands for, if there is one."""
    return next((each for each in _ancestors(name) if each in _COUNTERPARTS), "")


def _ancestors(name: str) -> Iterator[str]:
    """Yield a name and those of what is around it, from the inside: `a.b.c`, `a.b`, `a`."""
    while name:
        yield name
        name = name.rpartition(".")[0]
