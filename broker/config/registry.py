"""`registry.xml`: WSO2's registry and its mounts (andes.md §1.6).

Knows the elements and their defaults. This broker keeps its topology in its own store, so nothing here has an effect.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from broker.config.values import Boolean, Name, Section, one_of, xml


class DbConfig(Section):
    """A database of the registry, by the JNDI name of its datasource."""

    name: Name = xml("@name", "wso2registry")
    data_source: Name = xml("dataSource", "jdbc/WSO2CarbonDB")


class RemoteInstance(Section):
    """A registry that others share."""

    url: str = xml("@url", "")
    id: str = xml("id", "")
    db_config: str = xml("dbConfig", "")
    read_only: Boolean = xml("readOnly", False)
    enable_cache: Boolean = xml("enableCache", True)
    registry_root: str = xml("registryRoot", "/")
    cache_id: str = xml("cacheId", "")


class Mount(Section):
    """A path of this registry that lies in a remote one."""

    path: str = xml("@path", "")
    overwrite: Annotated[str, one_of("true", "false", "virtual")] = xml("@overwrite", "false")
    instance_id: str = xml("instanceId", "")
    target_path: str = xml("targetPath", "")


class Registry(Section):
    """The whole file."""

    has_foreign_content: ClassVar[bool] = True

    current_db_config: Name = xml("currentDBConfig", "wso2registry")
    read_only: Boolean = xml("readOnly", False)
    enable_cache: Boolean = xml("enableCache", True)
    registry_root: str = xml("registryRoot", "/")
    db_config: tuple[DbConfig, ...] = xml("dbConfig", (DbConfig(),))
    remote_instance: tuple[RemoteInstance, ...] = xml("remoteInstance", ())
    mount: tuple[Mount, ...] = xml("mount", ())
