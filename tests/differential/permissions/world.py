"""The virtual hosts and users that are there when permissions are asked about, as definitions that both brokers import.

Each user has some permissions in one virtual host, and may do everything in the other one: nothing of that may count.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from itertools import combinations
from typing import Any, Final

from broker.auth.access import Permission

VHOSTS: Final = ("/", "other")
GRANTS: Final[tuple[tuple[Permission, ...], ...]] = tuple(
    subset for size in range(len(Permission) + 1) for subset in combinations(Permission, size)
)
"""Every set of permissions."""

IMPERSONATOR: Final = "impersonator"
"""May do everything, and has the tag of this name."""
TOPICS: Final = "topics"
"""May do everything, but has topic permissions."""
STRANGER: Final = "stranger"
"""Has no permissions in the virtual host, not even empty ones."""
PASSWORD: Final = "secret"
_NOTHING, _EVERYTHING = "^$", ".*"


def grant_name(grant: tuple[Permission, ...]) -> str:
    """Return what a set of permissions is called."""
    return "all" if len(grant) == len(Permission) else "+".join(grant) or "none"


ALL: Final = grant_name(tuple(Permission))
GRANT_NAMES: Final = tuple(grant_name(grant) for grant in GRANTS)


def user_of(grant: str, vhost: str) -> str:
    """Return the name of the user who has this grant in `vhost`."""
    return f"{grant}@{vhost}"


def definitions() -> dict[str, Any]:
    """Return the virtual hosts, the users and what they may do."""
    pairs = [(grant, vhost) for vhost in VHOSTS for grant in (*GRANT_NAMES, IMPERSONATOR, TOPICS, STRANGER)]
    return {
        "vhosts": [{"name": vhost} for vhost in VHOSTS],
        "users": [_user(user_of(*pair), [IMPERSONATOR] if pair[0] == IMPERSONATOR else []) for pair in pairs],
        "permissions": [each for pair in pairs for each in _permissions(*pair)],
        "topic_permissions": [
            {"user": user_of(TOPICS, vhost), "vhost": vhost, "exchange": exchange, "write": write, "read": read}
            for vhost in VHOSTS
            for exchange, write, read in _TOPIC_PERMISSIONS
        ],
    }


_TOPIC_PERMISSIONS: Final = (
    ("t", "^a", "^b"),
    ("d", "^a", "^b"),
    ("variables", "^{username}-{vhost}$", "^{vhost}-{username}$"),
    ("nothing", "", ""),
)
"""At which exchange which keys may be written and read."""


def _permissions(grant: str, vhost: str) -> list[dict[str, str]]:
    user = user_of(grant, vhost)
    everything = dict.fromkeys(Permission, _EVERYTHING)
    granted = everything if grant in (IMPERSONATOR, TOPICS, ALL) else _only(grant)
    here = [] if grant == STRANGER else [{"user": user, "vhost": vhost, **granted}]
    return here + [{"user": user, "vhost": other, **everything} for other in VHOSTS if other != vhost]


def _only(grant: str) -> dict[Permission, str]:
    return {each: _EVERYTHING if each in grant.split("+") else _NOTHING for each in Permission}


def _user(name: str, tags: list[str]) -> dict[str, Any]:
    salt = b"salt"
    digest = hashlib.sha256(salt + PASSWORD.encode()).digest()
    return {
        "name": name,
        "password_hash": b64encode(salt + digest).decode(),
        "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": tags,
        "limits": {},
    }
