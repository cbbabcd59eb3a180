"""Checks what a start would find wrong in a configuration beside its files: stores of keys, tokens, definitions."""

from __future__ import annotations

from broker.config.configuration import Configuration
from broker.errors import AdministrationError, ConfigError
from broker.node.definitions_file import read_definitions
from broker.node.own_exchange_types import installed_exchange_types
from broker.node.process import open_store
from broker.node.token_logins import token_logins
from broker.server.certificates import Certificates


def check(config: Configuration) -> None:
    """Open what a start opens before it opens the database. Raises `ConfigError`."""
    open_store(config)
    token_logins(config.authentication.oauth2)
    installed_exchange_types()
    connection = config.transports.amqp.ssl_connection
    if config.transports.amqp.enabled and connection.enabled:
        Certificates(connection)
    if path := config.management.load_definitions:
        try:
            read_definitions(path)
        except AdministrationError as error:
            raise ConfigError(f"the definitions to load at the start: {path}: {error}") from error
