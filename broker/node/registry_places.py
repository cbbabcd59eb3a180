"""Where the registry of `registry.xml` keeps the queues and topics of the virtual host `carbon` (ADR 53)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from broker.config.configuration import Configuration
from broker.config.datasources import PoolConfiguration

GOVERNANCE: Final = "/_system/governance"


@dataclass(frozen=True, slots=True)
class RegistryPlace:
    """A path of the registry, in the database where it lies."""

    database: PoolConfiguration
    path: str
    read_only: bool
    versioned: bool
    """Do properties belong to versions (`versioningProperties`)?"""


def place_of(config: Configuration, resource: str) -> RegistryPlace | None:
    """Return where a resource of governance lies: behind the mount with the longest path, otherwise in the local
    registry. None when that database is not there, or is one of H2.
    """
    registry, path = config.registry, f"{GOVERNANCE}/{resource}"
    mount = registry.mount_of(path)
    read_only = registry.read_only
    try:
        if mount is not None:
            instance = registry.instance(mount.instance_id)
            source = registry.data_source_of(instance.db_config)
            path = mount.target_path.rstrip("/") + path[len(mount.path.rstrip("/")) :]
            read_only = read_only or instance.read_only
        else:
            source = registry.data_source_of(registry.current_db_config)
        database = config.datasources.resolve(source)
    except ValueError:
        return None  # of a mount, loading has refused it
    if database.is_h2:
        return None
    return RegistryPlace(database, path, read_only, registry.static_configuration.versioning_properties)
