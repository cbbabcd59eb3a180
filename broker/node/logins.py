"""Who may log in at a node, and what of the machine checking it may take."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from broker.auth.built_in import built_in_users
from broker.auth.directory import Directory
from broker.auth.hashing_threads import HashingThreads
from broker.auth.password_hash import GENERATED, SALT_OCTETS, new_argon2id
from broker.auth.passwords import Passwords, Verdict
from broker.auth.remembered import Remembered
from broker.auth.throttle import Throttle
from broker.auth.users import User, Users
from broker.config.configuration import Configuration
from broker.config.user_mgt import UserMgt
from broker.errors import ConnectionForced
from broker.node.registry_places import place_of

if TYPE_CHECKING:
    from broker.node.carbon import CarbonDatabases

_log = structlog.get_logger(__name__)

_MOST_THREADS: Final = 2
USERS_ELSEWHERE: Final = "users are kept in the database that user-mgt.xml names: add them there, with admin add-user"
"""Why the broker keeps no users with passwords of its own."""


def hashing_threads() -> HashingThreads:
    """Return threads for passwords: one core at least is left to everything else."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return HashingThreads(max(1, min(_MOST_THREADS, cores - 1)))


def logins(
    admin: UserMgt,
    directory: Directory,
    hashing: HashingThreads,
    monotonic: Callable[[], float],
    renew: Callable[[User, str], None],
) -> Users:
    """Return the login of the users in the directory. `renew` is that of `Users`."""
    built_in = built_in_users(admin, secrets.token_bytes(SALT_OCTETS))
    return Users(partial(find_user, directory, built_in), checked_passwords(hashing, monotonic), renew)


def checked_passwords(hashing: HashingThreads, monotonic: Callable[[], float]) -> Passwords:
    """Return the checks of passwords of one node."""
    return Passwords(
        hashing,
        Remembered(secrets.token_bytes(32), monotonic),
        Throttle(),
        monotonic=monotonic,
        new_salt=partial(secrets.token_bytes, SALT_OCTETS),
    )


async def open_carbon(config: Configuration) -> CarbonDatabases | None:
    """Return the databases of WSO2's that the configuration names; None when there is none.

    Raises `ConfigError` when one cannot be used.
    """
    carbon = carbon_databases(config)
    if carbon is not None:
        await carbon.open()
    return carbon


def carbon_databases(config: Configuration) -> CarbonDatabases | None:
    """Return the databases of WSO2's that the configuration names, not opened yet; None when there is none."""
    name = config.user_mgt.realm.configuration.data_source
    if config.user_database is None and config.datasources.find(name) is not None:
        _log.info("users are the broker's own: those of WSO2 are in a database of H2, which is not read", name=name)
    if config.user_database is None and place_of(config, "event") is None:
        return None
    from broker.node.carbon import CarbonDatabases  # heavy, and seldom wanted

    return CarbonDatabases(config)


def find_user(directory: Directory, built_in: Mapping[str, User], name: str) -> User | None:
    """Return a user of the directory with the password hash of its record, otherwise with the password of the
    configuration, if any.

    A generated password is good until the configuration has a secret one; a default one is good beside it.
    """
    record = directory.user(name)
    if record is None:
        return None
    if not record.password_hash:
        return built_in.get(name)
    default_password = ""
    if record.password_hash.startswith(GENERATED):
        configured = built_in.get(name)
        if configured is not None and not configured.default_password:
            return configured
        default_password = "" if configured is None else configured.default_password
    return User(name, record.password_hash, record.loopback_only, default_password)


async def hash_password(hashing: HashingThreads, password: str) -> str:
    """Return a new hash of a password, which is computed beside the loop."""
    salt = secrets.token_bytes(SALT_OCTETS)
    verdict = await hashing.run(
        salt, "", lambda: Verdict(True, new_argon2id(password, salt).text), is_wanted=lambda: True
    )
    if verdict is None:
        raise ConnectionForced("the password was not hashed")
    return verdict.renewed
