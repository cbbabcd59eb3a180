"""Where a node's control socket is."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Final

from broker.config.configuration import Configuration

LONGEST_PATH: Final = 107
"""Octets that the address of a UNIX socket has room for (unix(7))."""


def control_path(config: Configuration) -> Path:
    """Return the path of the control socket: that of `management/controlSocket`, otherwise beside the embedded
    database; with a database server, or where that path would be too long for a socket, in the folder for such files of
    the user, under a name that follows from database and ports.
    """
    if config.management.control_socket:
        return Path(config.management.control_socket)
    database = config.store_url.path
    if database is not None:
        beside = database.with_name(f"{database.name}.control").resolve()
        if len(os.fsencode(beside)) <= LONGEST_PATH:
            return beside
    folder = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return Path(folder) / f"cordillera-{os.getuid()}-{name_of_place(config)}.control"


def name_of_place(config: Configuration) -> str:
    """Return a name for files of this node that follows from the database server and the node's ports."""
    store = config.store_url
    place = f"{store.path or ''}{store.host}:{store.port}/{store.database}|{config.amqp_port}|{config.amqps_port}"
    return hashlib.blake2b(place.encode(), digest_size=8).hexdigest()
