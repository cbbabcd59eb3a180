"""The configuration files: their places, their models and the sections they fill."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from broker.config import file_places
from broker.config.accepted import ACCEPTED
from broker.config.axis2 import Axis2
from broker.config.broker_xml import BrokerXml
from broker.config.carbon import Carbon
from broker.config.datasources import Datasources
from broker.config.hazelcast import Hazelcast
from broker.config.layout import Layout
from broker.config.model_layout import layout_of
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

    places: file_places.Places
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
    return layout_of(file.model, ACCEPTED.get(file.name, {}))


BROKER_XML = ConfigFile(file_places.BROKER_XML, "broker", BrokerXml)
QPID_CONFIG = ConfigFile(file_places.QPID_CONFIG, "broker", QpidConfig, "qpid")
QPID_VIRTUALHOSTS = ConfigFile(file_places.QPID_VIRTUALHOSTS, "virtualhosts")
DATASOURCES = ConfigFile(
    file_places.DATASOURCES,
    "datasources-configuration",
    Datasources,
    "datasources",
)
CARBON = ConfigFile(file_places.CARBON, "Server", Carbon, "carbon")
USER_MGT = ConfigFile(file_places.USER_MGT, "UserManager", UserMgt, "user_mgt")
AXIS2 = ConfigFile(file_places.AXIS2, "axisconfig", Axis2, "axis2")
REGISTRY = ConfigFile(file_places.REGISTRY, "wso2registry", RegistryXml, "registry")
HAZELCAST = ConfigFile(file_places.HAZELCAST, "", Hazelcast, "hazelcast")

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
