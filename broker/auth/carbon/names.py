"""Which user a login names, and which resource and role of WSO2's tables a queue or a topic is.

The rules are those of its messaging component 3.2 and later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SUPER_TENANT: Final = "carbon.super"
PRIMARY: Final = "PRIMARY"
SYSTEM_USERS: Final = frozenset({"wso2.anonymous.user", "wso2.system.user"})
"""Users that never log in."""

QUEUES: Final = "event/queues/jms"
TOPICS: Final = "event/topics"
MANAGE: Final = "/permission/admin/manage"

CONSUME: Final = "consume"
PUBLISH: Final = "publish"
SUBSCRIBE: Final = "subscribe"
CHANGE: Final = "changePermission"
EXECUTE: Final = "ui.execute"


@dataclass(frozen=True, slots=True)
class Login:
    """Whom a name in a login means."""

    user: str
    tenant: str = SUPER_TENANT
    store: str = PRIMARY


def login_of(name: str) -> Login:
    """Return whom `name` means: the tenant is behind the last `!`, any other `!` stands for `@`."""
    user, mark, tenant = name.rpartition("!")
    if not mark:
        user, tenant = name, SUPER_TENANT
    store, slash, bare = user.replace("!", "@").partition("/")
    return Login(bare, tenant, store.upper()) if slash else Login(store, tenant)


def queue_of(name: str) -> str:
    """Return the queue that a name in a method means: what is before `;` and behind the first `:`."""
    name = name.partition(";")[0]
    return name.partition(":")[2] if ":" in name else name


def queue_resource(queue: str) -> str:
    """Return the resource of a queue."""
    return f"{QUEUES}/{queue}"


def topic_resource(topic: str) -> str:
    """Return the resource of a topic: the part in front of its first wildcard."""
    path = topic.replace(".", "/")
    cut = path.find("*") if "*" in path else path.find("#")
    path = path[:cut].rstrip("/") if cut >= 0 else path
    return f"{TOPICS}/{path}" if path else TOPICS


def queue_role(queue: str) -> str:
    """Return the role of those who use a queue, without its domain. Different queues can have the same."""
    return "Q_" + queue.replace("@", "_").replace(".", "-").replace("/", "-")


def topic_role(topic: str) -> str:
    """Return the role of those who use a topic, without its domain."""
    bare = topic.replace("@", "_").replace(".*", "").replace(".#", "")
    return "T_" + bare.replace(".", "-").replace("/", "-")


def is_of_super_tenant(name: str) -> bool:
    """May the super tenant have a queue or a topic of this name?"""
    return bool(name) and ("/" not in name or name.startswith(f"{SUPER_TENANT}/"))
