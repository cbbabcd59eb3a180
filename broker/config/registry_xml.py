"""`registry.xml`: in which databases the registry is, and what is mounted from where (andes §1.6).

The rest of the file configures handlers and caches of WSO2's platform.
"""

from __future__ import annotations

from typing import ClassVar, Final

from pydantic import SecretStr

from broker.config.values import NO_SECRET, Boolean, Name, Section, xml

ROOT: Final = "/"


class DbConfig(Section):
    """A database, by the JNDI name of its datasource."""

    has_foreign_content: ClassVar[bool] = True

    name: Name = xml("@name", "wso2registry")
    data_source: Name = xml("dataSource", "jdbc/WSO2CarbonDB")


class RemoteInstance(Section):
    """A second registry: with a user and a password one that is asked over HTTP, otherwise one in a database."""

    has_foreign_content: ClassVar[bool] = True

    id: str = xml("id", "")
    db_config: str = xml("dbConfig", "")
    read_only: Boolean = xml("readOnly", False)
    registry_root: str = xml("registryRoot", ROOT)
    user_name: str = xml("username", "")
    password: SecretStr = xml("password", NO_SECRET)


class Mount(Section):
    """What lies under a path is in another instance, under another path."""

    has_foreign_content: ClassVar[bool] = True

    path: str = xml("@path", "")
    instance_id: str = xml("instanceId", "")
    target_path: str = xml("targetPath", "")


class StaticConfiguration(Section):
    """How rows refer to each other; fixed once there are any."""

    has_foreign_content: ClassVar[bool] = True

    versioning_properties: Boolean = xml("versioningProperties", True)


class RegistryXml(Section):
    """The whole file."""

    has_foreign_content: ClassVar[bool] = True

    current_db_config: Name = xml("currentDBConfig", "wso2registry")
    read_only: Boolean = xml("readOnly", False)
    registry_root: str = xml("registryRoot", ROOT)
    db_configs: tuple[DbConfig, ...] = xml("dbConfig", (DbConfig(),))
    remote_instances: tuple[RemoteInstance, ...] = xml("remoteInstance", ())
    mounts: tuple[Mount, ...] = xml("mount", ())
    static_configuration: StaticConfiguration = xml("staticConfiguration", StaticConfiguration())

    def data_source_of(self, db_config: str) -> str:
        """Return the JNDI name of a database. Raises ValueError when there is no such dbConfig."""
        for each in self.db_configs:
            if each.name == db_config:
                return each.data_source
        raise ValueError(f"there is no dbConfig '{db_config}'")

    def instance(self, instance_id: str) -> RemoteInstance:
        """Return a remote instance. Raises ValueError when there is none of this id."""
        for each in self.remote_instances:
            if each.id == instance_id:
                return each
        raise ValueError(f"there is no remoteInstance with the id '{instance_id}'")

    def mount_of(self, path: str) -> Mount | None:
        """Return the mount with the longest path that `path` lies under."""
        found = [each for each in self.mounts if is_under(path, each.path)]
        return max(found, key=lambda each: len(each.path.rstrip("/")), default=None)


def is_under(path: str, top: str) -> bool:
    """Is `path` the path `top`, or one below it?"""
    top = top.rstrip("/")
    return path == top or path.startswith(f"{top}/")
