"""`make cluster-demo`: nodes to watch, on a database server of their own of which nothing is left.

Knows the command line, the environment and how a private server is made; must not know what the demo shows.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import closing

from broker.errors import StoreError
from tests.support.databases import DatabaseMissing, DatabaseServer, MariaDB, ServerFailed
from tests.support.demo.nodes import VARIABLE, Refused
from tests.support.demo.show import run


def main(arguments: Sequence[str]) -> int:
    """Show so many nodes on the database that the environment names, else on a MariaDB of their own.

    Returns the exit code: 78 when there cannot be such a demo, 69 when there is no database for it.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.support.demo")
    parser.add_argument("nodes")
    parser.add_argument(
        "--coordination", choices=("database", "peers"), default="database", help="how the nodes find each other"
    )
    options = parser.parse_args(arguments)
    meets_as_peers = options.coordination == "peers"
    try:
        count = int(options.nodes)
        if url := os.environ.get(VARIABLE):
            run(url, count, meets_as_peers=meets_as_peers)
        else:
            with closing(DatabaseServer(MariaDB())) as server:
                run(server.jdbc_url(server.create_database()), count, meets_as_peers=meets_as_peers)
    except (Refused, ValueError) as error:
        print(error, file=sys.stderr)
        return os.EX_CONFIG
    except (DatabaseMissing, ServerFailed, StoreError) as error:
        print(f"the demo's database: {error}", file=sys.stderr)
        return os.EX_UNAVAILABLE
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
