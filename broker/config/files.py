"""The configuration files: their names, their models and the sections they fill.

They lie below the folder of `broker.xml` as in WSO2's server (andes §1.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from broker.config.accepted import ACCEPTED
from broker.config.axis2 import Axis2
from broker.config.broker_xml import BrokerXml
from broker.config.carbon import Carbon
from broker.config.datasources import Datasources
from broker.config.hazelcast import Hazelcast
from broker.config.layout import Layout
from broker.config.qpid_config import QpidConfig
from broker.config.registry_xml import RegistryXml
from broker.config.user_mgt import UserMgt
from broker.config.values import Section


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """One file: the places it may be in, its root element, its model and the section it fills.

    An empty root means a properties file; an empty section means that the fields of the model are sections themselves.
    A file without a model of its own is accepted and has no effect.
    """

    places: tuple[str, ...]
    root: str
    model: type[Section] = Section
    section: str = ""

    @property
    def name(self) -> str:
        return self.places[0]

    @property
    def layout(self) -> Layout:
        """The elements that the file may have."""
        return _layout(self)


@cache
def _layout(file: ConfigFile) -> Layout:
    return Layout(file.model, ACCEPTED.get(file.name, {}))


BROKER_XML = ConfigFile(("broker.xml",), "broker", BrokerXml)
QPID_CONFIG = ConfigFile(("advanced/qpid-config.xml", "qpid-config.xml"), "broker", QpidConfig, "qpid")
QPID_VIRTUALHOSTS = ConfigFile(("advanced/qpid-virtualhosts.xml", "qpid-virtualhosts.xml"), "virtualhosts")
DATASOURCES = ConfigFile(
    ("datasources/master-datasources.xml", "master-datasources.xml"),
    "datasources-configuration",
    Datasources,
    "datasources",
)
CARBON = ConfigFile(("carbon.xml",), "Server", Carbon, "carbon")
USER_MGT = ConfigFile(("user-mgt.xml",), "UserManager", UserMgt, "user_mgt")
AXIS2 = ConfigFile(("axis2.xml", "axis2/axis2.xml"), "axisconfig", Axis2, "axis2")
REGISTRY = ConfigFile(("registry.xml",), "wso2registry", RegistryXml, "registry")
HAZELCAST = ConfigFile(("hazelcast.properties",), "", Hazelcast, "hazelcast")

LOG4J = "log4j.properties"
"""Levels of the log (`log4j`): names that no layout lists."""

FILES = (
    BROKER_XML,
    QPID_CONFIG,
    QPID_VIRTUALHOSTS,
    DATASOURCES,
    CARBON,
    USER_MGT,
    AXIS2,
    REGISTRY,
    HAZELCAST,
)
