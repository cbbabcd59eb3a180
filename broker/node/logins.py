"""Who may log in at a node, and what of the machine checking it may take."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from functools import partial
from typing import Final

from broker.auth.built_in import built_in_users
from broker.auth.hashing_threads import HashingThreads
from broker.auth.password_hash import SALT_OCTETS
from broker.auth.passwords import Passwords
from broker.auth.remembered import Remembered
from broker.auth.throttle import Throttle
from broker.auth.users import Users
from broker.config.user_mgt import UserMgt

_MOST_THREADS: Final = 2


def hashing_threads() -> HashingThreads:
    """Return threads for passwords: one core at least is left to everything else."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return HashingThreads(max(1, min(_MOST_THREADS, cores - 1)))


def logins(admin: UserMgt, hashing: HashingThreads, monotonic: Callable[[], float]) -> Users:
    """Return the login of the built-in users."""
    users = built_in_users(admin, secrets.token_bytes(SALT_OCTETS))
    passwords = Passwords(
        hashing,
        Remembered(secrets.token_bytes(32), monotonic),
        Throttle(),
        monotonic=monotonic,
        new_salt=partial(secrets.token_bytes, SALT_OCTETS),
    )
    return Users(users.get, passwords)
