"""Where the files of a configuration are, below the folder of `broker.xml` as in WSO2's server (andes §1.1), and which
environment variables override elements of them.

Must not import pydantic: see `place`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from broker.config.place import Place

Places = tuple[str, ...]
"""The places that a file may be in; the first is its name."""

BROKER_XML: Final[Places] = ("broker.xml",)
QPID_CONFIG: Final[Places] = ("advanced/qpid-config.xml", "qpid-config.xml")
QPID_VIRTUALHOSTS: Final[Places] = ("advanced/qpid-virtualhosts.xml", "qpid-virtualhosts.xml")
DATASOURCES: Final[Places] = ("datasources/master-datasources.xml", "master-datasources.xml")
CARBON: Final[Places] = ("carbon.xml",)
USER_MGT: Final[Places] = ("user-mgt.xml",)
AXIS2: Final[Places] = ("axis2.xml", "axis2/axis2.xml")
REGISTRY: Final[Places] = ("registry.xml",)
HAZELCAST: Final[Places] = ("hazelcast.properties",)

SECRET: Final[Place] = ("coordination", "clusterSecret")
PORT: Final[Place] = ("transports", "amqp", "defaultConnection", "@port")

OVERRIDES: Final[tuple[tuple[str, Places, Place], ...]] = (
    ("QPID_HEARTBEATDELAY", QPID_CONFIG, ("heartbeat", "delay")),
    ("QPID_HEARTBEATTIMEOUTFACTOR", QPID_CONFIG, ("heartbeat", "timeoutFactor")),
    ("BROKER_PORT_OFFSET", CARBON, ("Ports", "Offset")),
    ("BROKER_CLUSTER_SECRET", BROKER_XML, SECRET),
    ("RABBITMQ_NODE_PORT", BROKER_XML, PORT),
    ("RABBITMQ_DEFAULT_USER", USER_MGT, ("Realm", "Configuration", "AdminUser", "UserName")),
    ("RABBITMQ_DEFAULT_PASS", USER_MGT, ("Realm", "Configuration", "AdminUser", "Password")),
)
"""Each variable with the file and the element that it overrides. The RabbitMQ names let this broker replace a RabbitMQ
container.
"""


def main_file(path: Path) -> Path:
    """Return `broker.xml` of what a configuration is named by: the file, or the folder it is in or that is the home of
    WSO2's server.
    """
    if not path.is_dir():
        return path
    folders = (path, path / "conf", path / "repository" / "conf")
    name = BROKER_XML[0]
    return next((each / name for each in folders if (each / name).is_file()), path / name)


def found(places: Places, main: Path) -> Path | None:
    """Return the file that is beside a `broker.xml`, or this itself; None if it is not there."""
    if places == BROKER_XML:
        return main
    return next((main.parent / place for place in places if (main.parent / place).is_file()), None)
