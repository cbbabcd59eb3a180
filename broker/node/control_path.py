"""Where a node's control socket is."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from broker.config.configuration import Configuration


def control_path(config: Configuration) -> Path:
    """Return the path of the control socket: that of `management/controlSocket`, otherwise beside the embedded
    database; with a database server in the folder for such files of the user, under a name that follows from database
    and ports.
    """
    if config.management.control_socket:
        return Path(config.management.control_socket)
    database = config.store_url.path
    if database is not None:
        return database.with_name(f"{database.name}.control").resolve()
    folder = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return Path(folder) / f"cordillera-{os.getuid()}-{name_of_place(config)}.control"


def name_of_place(config: Configuration) -> str:
    """Return a name for files of this node that follows from the database server and the node's ports."""
    store = config.store_url
    place = f"{store.host}:{store.port}/{store.database}|{config.amqp_port}|{config.amqps_port}"
    return hashlib.blake2b(place.encode(), digest_size=8).hexdigest()
