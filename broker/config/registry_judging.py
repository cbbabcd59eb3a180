"""Judges `registry.xml`: a mount that leads nowhere, and what cannot be served, stops the start with its line."""

from __future__ import annotations

from broker.config.binding import Reading
from broker.config.configuration import Configuration
from broker.config.connection_options import connection_options
from broker.config.place import Place
from broker.config.registry_xml import ROOT, Mount, RemoteInstance


def judge_registry(config: Configuration, reading: Reading) -> None:
    """Report every mount whose database is not there, and every instance that cannot be opened."""
    _judge_root(config.registry.registry_root, ("registryRoot",), reading)
    for index, instance in enumerate(config.registry.remote_instances):
        _judge_instance(instance, ("remoteInstance", index), reading)
    for index, mount in enumerate(config.registry.mounts):
        try:
            _judge_mount(config, mount)
        except ValueError as error:
            reading.refuse(("mount", index), f"the mount of '{mount.path}' leads nowhere: {error}")


def _judge_instance(instance: RemoteInstance, place: Place, reading: Reading) -> None:
    _judge_root(instance.registry_root, (*place, "registryRoot"), reading)
    if instance.user_name and instance.password.get_secret_value():
        reading.refuse(
            (*place, "username"),
            "an instance with a user and a password is asked over HTTP, which is not served: use a dbConfig alone",
        )


def _judge_root(root: str, place: Place, reading: Reading) -> None:
    if root != ROOT:
        reading.refuse(place, f"'{root}' is not served: only {ROOT} is")


def _judge_mount(config: Configuration, mount: Mount) -> None:
    registry = config.registry
    if not mount.path.startswith("/") or not mount.target_path.startswith("/"):
        raise ValueError("path and targetPath must begin with /")
    source = registry.data_source_of(registry.instance(mount.instance_id).db_config)
    database = config.datasources.resolve(source)
    if not database.is_h2:
        connection_options(database.store_url)
