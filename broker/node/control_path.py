"""Where a node's control socket is. Must not import what takes long: `brokerctl` asks this."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from broker.config.node_place import NodePlace

LONGEST_PATH: Final = 107
"""Octets that the address of a UNIX socket has room for (unix(7))."""


def control_path(place: NodePlace) -> Path:
    """Return the path of the control socket: that of `management/controlSocket`, otherwise beside the embedded
    database; with a database server, or where that path would be too long for a socket, in the folder for such files of
    the user, under a name that follows from database and ports.
    """
    if place.control_socket:
        return Path(place.control_socket)
    database = place.path
    if database is not None:
        beside = database.with_name(f"{database.name}.control").resolve()
        if len(os.fsencode(beside)) <= LONGEST_PATH:
            return beside
    import tempfile

    folder = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return Path(folder) / f"cordillera-{os.getuid()}-{name_of_place(place)}.control"


def name_of_place(place: NodePlace) -> str:
    """Return a name for files of this node that follows from the database server and the node's ports."""
    import hashlib  # loads OpenSSL

    told = f"{place.path or ''}{place.host}:{place.port}/{place.database}|{place.amqp_port}|{place.amqps_port}"
    return hashlib.blake2b(told.encode(), digest_size=8).hexdigest()
