"""The broker on a store that forgets to sync one thing: `python -m tests.support.unsynced WHAT --config DIR`.

What it forgets survives every kill -9, and must be found by power cuts, else those are worth nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

import broker.store.sqlite.content_files
import broker.store.sqlite.store
from broker.__main__ import main
from broker.store.sqlite.content_files import ContentFiles
from broker.store.sqlite.store import SqliteStore


def _sync_nothing(_: object) -> None:
    pass


def forget(what: str) -> None:
    """Make every store opened from now on forget to sync `what`: the log, the bodies in files, or names."""
    if what == "log":
        sqlite = broker.store.sqlite.store
        sqlite._PRAGMAS = ("synchronous = OFF", *(one for one in sqlite._PRAGMAS if "synchronous" not in one))  # type: ignore[misc]
    elif what == "bodies":

        def files(directory: Path) -> ContentFiles:
            return ContentFiles(directory, sync=_sync_nothing)

        SqliteStore.__init__.__defaults__ = (files, *(SqliteStore.__init__.__defaults__ or ())[1:])  # type: ignore[misc]
    elif what == "names":
        broker.store.sqlite.content_files.sync_directory = _sync_nothing
    else:
        raise ValueError(f"nothing is called {what!r}")


if __name__ == "__main__":
    forget(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
