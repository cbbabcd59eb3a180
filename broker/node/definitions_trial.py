"""Imports the definitions of a start into a node that has nothing, keeps nothing and serves nobody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from broker.backoff import Backoff
from broker.clock import StoreClock, SystemClock
from broker.config.axis2 import Axis2
from broker.config.configuration import Configuration
from broker.config.datasources import DataSource, DataSourceList, Datasources, Definition, PoolConfiguration
from broker.config.registry_xml import RegistryXml
from broker.config.user_mgt import UserMgt
from broker.errors import ConfigError
from broker.node.incarnation import NodeIncarnation
from broker.node.standalone import Standalone
from broker.server.listener import AmqpServer
from broker.store.memory.store import MemoryStore
from broker.store.retrying import Retry, RetryingStore
from broker.store.time_keeper import TimeKeeper
from broker.topology.exchange import NewOwnRouter

_NODE: Final = "trial"
_IN_MEMORY: Final = "jdbc:sqlite::memory:"


async def try_definitions(config: Configuration, own_exchange_types: Mapping[str, NewOwnRouter]) -> None:
    """Import what `management/loadDefinitions` names. Raises `ConfigError` when that cannot be done."""
    name = config.persistence.message_store.data_source
    source = DataSource(name=name, definition=Definition(configuration=PoolConfiguration(url=_IN_MEMORY)))
    alone = config.model_copy(
        update={
            "axis2": Axis2(),
            "datasources": Datasources(datasources=DataSourceList(datasource=(source,))),
            "registry": RegistryXml(),
            "user_mgt": UserMgt(),
        }
    )
    opened = MemoryStore()
    store, clock = RetryingStore(opened), StoreClock(SystemClock())
    retry = Retry("waiting for the store", Backoff(0.5, 5.0))
    keeper = TimeKeeper(store, clock)
    node = NodeIncarnation(
        alone,
        _NODE,
        store,
        clock,
        keeper,
        Standalone(store, _NODE, retry),
        store_timeout=1.0,
        own_exchange_types=own_exchange_types,
    )
    await opened.open()
    try:
        await keeper.begin()
        await node.run(_serve_nobody)
    except BaseExceptionGroup as group:
        wrong, others = group.split(ConfigError)
        if wrong is None or others is not None:
            raise
        raise _first(wrong) from None
    finally:
        await opened.close()


async def _serve_nobody(server: AmqpServer, messages: int) -> None:
    """The node stops at once."""


def _first(group: BaseExceptionGroup[ConfigError]) -> ConfigError:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
