"""`python -m tests.support.faulty_broker FAULT ...`: the command line of the broker over a store with a fault.

Knows how the command line comes by its store; what it does with it is what the tests want to see.
"""

from __future__ import annotations

import sys

import broker.node.process
from broker.__main__ import main
from broker.config.configuration import Configuration
from broker.errors import ConfigError, StoreLocked, StoreUnavailable
from tests.support.faulty_store import FaultyStore

FAULTS = {
    "config": ConfigError("datasource WSO2MBStoreDB: the password of user 'mb' is wrong"),
    "locked": StoreLocked("the store is in use by process 1"),
    "away": StoreUnavailable("db.example:3306: connection refused"),
}


def _open_store(config: Configuration) -> FaultyStore:
    store = FaultyStore(unsafe=["fsync is off"] if fault == "unsafe" else [])
    if fault in FAULTS:
        store.fail(FAULTS[fault])
    return store


if __name__ == "__main__":
    fault = sys.argv[1]
    broker.node.process.open_store = _open_store
    sys.exit(main(sys.argv[2:]))
