"""`datasources/master-datasources.xml`: databases by their JNDI names (andes §1.5).

This module opens no connection.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import SecretStr

from broker.config import store_url
from broker.config.store_url import StoreUrl
from broker.config.values import NO_SECRET, Boolean, Count, CountOrZero, Name, SecretText, Section, xml

DEFAULT_URL = "jdbc:sqlite:./broker-data/mb.db"


class JndiConfig(Section):
    """The name under which `broker.xml` refers to a datasource."""

    has_foreign_content: ClassVar[bool] = True

    name: str = xml("name", "")


class DataSourceProps(Section):
    """The properties of an XA datasource, which has them instead of the element `url`."""

    url: SecretText = xml("property[URL]", "", in_repr=False)
    user: SecretText = xml("property[user]", "")
    password: SecretStr = xml("property[password]", NO_SECRET)


class PoolConfiguration(Section):
    """A database and the pool of connections to it; the elements are those of Tomcat's JDBC pool."""

    has_foreign_content: ClassVar[bool] = True

    url: SecretText = xml("url", DEFAULT_URL, in_repr=False)
    username: SecretText = xml("username", "")
    password: SecretStr = xml("password", NO_SECRET)
    max_active: Count = xml("maxActive", 50)
    max_wait_ms: CountOrZero = xml("maxWait", 60_000)
    test_on_borrow: Boolean = xml("testOnBorrow", True)
    validation_interval_ms: CountOrZero = xml("validationInterval", 30_000)
    connection_properties: SecretStr = xml("connectionProperties", NO_SECRET)
    data_source_class_name: str = xml("dataSourceClassName", "")
    data_source_props: DataSourceProps = xml("dataSourceProps", DataSourceProps())

    @property
    def is_xa(self) -> bool:
        """Whether the URL is in `dataSourceProps`."""
        return bool(self.data_source_class_name and self.data_source_props.url)

    @property
    def is_h2(self) -> bool:
        """Is it a database of Java's H2, which this broker cannot open?"""
        url = self.data_source_props.url if self.is_xa else self.url
        return url.lower().startswith("jdbc:h2:")

    @property
    def store_url(self) -> StoreUrl:
        """The database that the URL means. Raises ValueError."""
        if self.is_xa:
            props = self.data_source_props
            return store_url.parse(props.url, props.user, props.password)
        url = store_url.parse(self.url, self.username, self.password)
        return store_url.with_parameters(url, self.connection_properties.get_secret_value())


class Definition(Section):
    """How the datasource is made."""

    configuration: PoolConfiguration = xml("configuration", PoolConfiguration())


class DataSource(Section):
    """One database."""

    name: Name = xml("name", "WSO2_MB_STORE_DB")
    jndi_config: JndiConfig = xml("jndiConfig", JndiConfig())
    definition: Definition = xml("definition", Definition())

    @property
    def jndi_name(self) -> str:
        return self.jndi_config.name or self.name


_STORE = DataSource(jndi_config=JndiConfig(name="WSO2MBStoreDB"))


class DataSourceList(Section):
    """The element `datasources`."""

    datasource: tuple[DataSource, ...] = xml("datasource", (_STORE,))


class Datasources(Section):
    """The whole file."""

    datasources: DataSourceList = xml("datasources", DataSourceList())

    def find(self, name: str) -> DataSource | None:
        """Return the datasource with this JNDI name or else with this name."""
        sources = self.datasources.datasource
        by_jndi_name = (source for source in sources if source.jndi_name == name)
        return next(by_jndi_name, None) or next((source for source in sources if source.name == name), None)

    def resolve(self, name: str) -> PoolConfiguration:
        """Return the database with this name and its pool. Raises ValueError listing the known names."""
        source = self.find(name)
        if source is None:
            known = ", ".join(source.jndi_name for source in self.datasources.datasource)
            raise ValueError(f"no datasource has the JNDI name '{name}'; known are {known}")
        return source.definition.configuration
