"""Definitions as RabbitMQ exports and imports them: JSON of users, virtual hosts, permissions, policies and topology.

`exported` describes what is there; `definitions_import` makes it elsewhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import chain
from typing import Any, Final, TypeAlias

from broker.auth.password_hash import NO_PASSWORD
from broker.ports.records import UserRecord, VirtualHostSettingsRecord
from broker.queue.settings import QueueType
from broker.topology.administration import Administration
from broker.topology.json_form import plain
from broker.topology.policy_forms import told_operator_policy, told_policy
from broker.topology.vhost import VirtualHost

Definitions: TypeAlias = Mapping[str, Any]

_ALGORITHM: Final = re.compile(r"\$(rabbit_password_hashing_[a-z0-9]+)\$(.*)", re.DOTALL)
DEFAULT_ALGORITHM: Final = "rabbit_password_hashing_sha256"
OWN_HASH: Final = "cordillera_password_hash"
"""What of a user RabbitMQ does not look at: one that it could not read would stop its import."""


def described(version: str) -> dict[str, Any]:
    """Return where definitions come from."""
    return {"product_name": "Cordillera", "product_version": version}


def exported(administration: Administration, version: str) -> dict[str, Any]:
    """Return everything but exclusive queues, in RabbitMQ's form. Hashes of passwords are part of it."""
    return {**described(version), **{name: list(rows) for name, rows in sections(administration).items()}}


def sections(administration: Administration) -> dict[str, Iterator[dict[str, Any]]]:
    """Return the same section by section; each may be read in as many turns of the loop as it takes."""
    directory, vhosts = administration.directory, administration.live_vhosts
    settings, policies = administration.vhosts, administration.policies
    permissions = sorted(directory.permissions, key=lambda each: (each.vhost, each.user))
    topics = sorted(directory.topic_permissions, key=lambda each: (each.vhost, each.user, each.exchange))
    limits = (row for each in settings for row in _limits_of(each))
    return {
        "users": map(told_user, sorted(directory.users, key=lambda each: each.name)),
        "vhosts": map(_vhost, settings),
        "permissions": map(asdict, permissions),
        "topic_permissions": map(asdict, topics),
        "parameters": chain(limits, (told_operator_policy(each) for each in policies if each.is_operator)),
        "global_parameters": (
            {"name": each.name, "value": json.loads(each.value)} for each in administration.global_parameters
        ),
        "policies": (told_policy(each) for each in policies if not each.is_operator),
        "queues": (each for vhost in vhosts for each in _queues(vhost)),
        "exchanges": (each for vhost in vhosts for each in _exchanges(vhost)),
        "bindings": (each for vhost in vhosts for each in _bindings(vhost)),
    }


def told_user(user: UserRecord) -> dict[str, Any]:
    """Return a user as definitions have it, with the hash of the password."""
    limits = {"max-connections": user.max_connections, "max-channels": user.max_channels}
    return {
        "name": user.name,
        **_password(user.password_hash),
        "tags": [tag for tag in user.tags.split(",") if tag],
        "limits": {name: limit for name, limit in limits.items() if limit >= 0},
    }


def _password(stored: str) -> dict[str, str]:
    """Return the hash of a password and its algorithm. For what RabbitMQ does not have, another kind of hash, or a
    password of the configuration, this is a user without a password, and `OWN_HASH` has what it is here.
    """
    found = _ALGORITHM.fullmatch(stored)
    if found:
        return {"password_hash": found[2], "hashing_algorithm": found[1]}
    told = {"password_hash": "", "hashing_algorithm": DEFAULT_ALGORITHM}
    return told if stored == NO_PASSWORD else {**told, OWN_HASH: stored}


def _vhost(settings: VirtualHostSettingsRecord) -> dict[str, Any]:
    """Return a virtual host. RabbitMQ 3.10 looks for what is set of it in `metadata`, later versions beside that."""
    metadata: dict[str, Any] = {
        "description": settings.description,
        "tags": [tag for tag in settings.tags.split(",") if tag],
    }
    if settings.default_queue_type:
        metadata["default_queue_type"] = settings.default_queue_type
    if settings.protected_from_deletion:
        metadata["protected_from_deletion"] = True
    return {"name": settings.vhost, **metadata, "metadata": metadata}


def _limits_of(settings: VirtualHostSettingsRecord) -> Iterator[dict[str, Any]]:
    limits = {"max-connections": settings.max_connections, "max-queues": settings.max_queues}
    value = {name: limit for name, limit in limits.items() if limit >= 0}
    if value:
        yield {"vhost": settings.vhost, "component": "vhost-limits", "name": "limits", "value": value}


def _queues(vhost: VirtualHost) -> Iterator[dict[str, Any]]:
    for queue in sorted(vhost.queues.values(), key=lambda each: each.name):
        if not queue.is_exclusive:
            yield {
                "name": queue.name,
                "vhost": vhost.name,
                "type": QueueType.of(queue.arguments).value,
                "durable": queue.durable,
                "auto_delete": queue.auto_delete,
                "arguments": plain(queue.arguments),
            }


def _exchanges(vhost: VirtualHost) -> Iterator[dict[str, Any]]:
    for name, exchange in sorted(vhost.exchanges.items()):
        if not is_of_broker(name):
            yield {
                "name": name,
                "vhost": vhost.name,
                "type": exchange.type,
                "durable": exchange.durable,
                "auto_delete": exchange.auto_delete,
                "internal": exchange.internal,
                "arguments": plain(exchange.arguments),
            }


def _bindings(vhost: VirtualHost) -> Iterator[dict[str, Any]]:
    for name, exchange in sorted(vhost.exchanges.items()):
        for binding in list(exchange.bindings):
            kind, destination = binding.destination
            queue = vhost.queues.get(destination)
            if kind == "exchange" or (queue is not None and not queue.is_exclusive):
                yield {
                    "source": name,
                    "vhost": vhost.name,
                    "destination": destination,
                    "destination_type": kind,
                    "routing_key": binding.routing_key,
                    "arguments": plain(binding.arguments),
                }


def is_of_broker(name: str) -> bool:
    """Is this the name of an exchange or queue that clients cannot choose?"""
    return not name or name.startswith("amq.")
