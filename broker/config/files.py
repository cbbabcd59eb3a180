"""The configuration files: their names, their models and the sections they fill.

Knows the layout WSO2 uses below the folder of `broker.xml` (andes.md §1.1).
"""

from __future__ import annotations

from dataclasses import dataclass

from broker.config.axis2 import Axis2
from broker.config.broker_xml import BrokerXml
from broker.config.carbon import Carbon
from broker.config.datasources import Datasources
from broker.config.hazelcast import Hazelcast
from broker.config.qpid_config import QpidConfig
from broker.config.qpid_virtualhosts import QpidVirtualHosts
from broker.config.registry import Registry
from broker.config.user_mgt import UserMgt
from broker.config.values import Section


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """One file: the places it may be in, its model, its root element and the section it fills.

    An empty root means a properties file; an empty section means that the fields of the model are sections themselves.
    """

    places: tuple[str, ...]
    model: type[Section]
    root: str
    section: str

    @property
    def name(self) -> str:
        return self.places[0]


BROKER_XML = ConfigFile(("broker.xml",), BrokerXml, "broker", "")
QPID_CONFIG = ConfigFile(("advanced/qpid-config.xml", "qpid-config.xml"), QpidConfig, "broker", "qpid")
QPID_VIRTUALHOSTS = ConfigFile(
    ("advanced/qpid-virtualhosts.xml", "qpid-virtualhosts.xml"), QpidVirtualHosts, "virtualhosts", "virtualhosts"
)
DATASOURCES = ConfigFile(
    ("datasources/master-datasources.xml", "master-datasources.xml"),
    Datasources,
    "datasources-configuration",
    "datasources",
)
CARBON = ConfigFile(("carbon.xml",), Carbon, "Server", "carbon")
USER_MGT = ConfigFile(("user-mgt.xml",), UserMgt, "UserManager", "user_mgt")
AXIS2 = ConfigFile(("axis2.xml", "axis2/axis2.xml"), Axis2, "axisconfig", "axis2")
REGISTRY = ConfigFile(("registry.xml",), Registry, "wso2registry", "registry")
HAZELCAST = ConfigFile(("hazelcast.properties",), Hazelcast, "", "hazelcast")

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
