"""`make cluster-demo`: nodes to watch, on a database server of their own of which nothing is left.

Knows the command line, the environment and how a private server is made; must not know what the demo shows.
"""

from __future__ import annotations

import os
import sys
from contextlib import closing

from broker.errors import StoreError
from tests.support.databases import DatabaseMissing, DatabaseServer, MariaDB, ServerFailed
from tests.support.demo.nodes import VARIABLE, Refused
from tests.support.demo.show import run


def main(nodes: str) -> int:
    """Show so many nodes on the database that the environment names, else on a MariaDB of their own.

    Returns the exit code: 78 when there cannot be such a demo, 69 when there is no database for it.
    """
    try:
        count = int(nodes)
        if url := os.environ.get(VARIABLE):
            run(url, count)
        else:
            with closing(DatabaseServer(MariaDB())) as server:
                run(server.jdbc_url(server.create_database()), count)
    except (Refused, ValueError) as error:
        print(error, file=sys.stderr)
        return os.EX_CONFIG
    except (DatabaseMissing, ServerFailed, StoreError) as error:
        print(f"the demo's database: {error}", file=sys.stderr)
        return os.EX_UNAVAILABLE
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
