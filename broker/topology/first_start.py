"""What a database holds from its first start on: virtual hosts, and users who may do everything in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from structlog.contextvars import bound_contextvars

from broker.ports.records import PermissionRecord, UserRecord, VirtualHostSettingsRecord
from broker.topology.administration import Administration

DEFAULT_VHOSTS: Final = ("/", "carbon")


async def first_start(administration: Administration, users: Sequence[UserRecord]) -> None:
    """Create the default virtual hosts if there is none, and these users if there is none.

    Whatever an administrator has deleted since then stays deleted. A database of a version without users gets them.
    """
    with bound_contextvars(by="the first start"):
        if not administration.vhosts:
            for name in DEFAULT_VHOSTS:
                await administration.create_vhost(VirtualHostSettingsRecord(name))
        if next(administration.directory.users, None) is not None:
            return
        for user in users:
            await administration.add_user(user)
            for settings in administration.vhosts:
                await administration.set_permissions(PermissionRecord(user.name, settings.vhost, ".*", ".*", ".*"))
