"""`make cluster-demo`: three nodes to watch, on a database server of their own of which nothing is left.

Knows how a private server is made and what the demo asks for; must not know what the demo shows.
"""

from __future__ import annotations

import os
import sys
from contextlib import closing

from broker.__main__ import main
from broker.demo.command import VARIABLE
from tests.support.databases import DatabaseMissing, DatabaseServer, MariaDB, ServerFailed


def run(nodes: str) -> int:
    """Show a cluster of so many nodes on a MariaDB of its own; return the exit code: 69 when there is none."""
    try:
        with closing(DatabaseServer(MariaDB())) as server:
            os.environ[VARIABLE] = server.jdbc_url(server.create_database())
            return main(["--cluster-demo", nodes])
    except (DatabaseMissing, ServerFailed) as error:
        print(error, file=sys.stderr)
        return os.EX_UNAVAILABLE


if __name__ == "__main__":
    sys.exit(run(sys.argv[1]))
