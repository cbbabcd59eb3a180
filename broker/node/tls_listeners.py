"""The certificates of a node's TLS listeners: AMQP, the HTTP API, metrics.

They are read at the start, when their files change, and when the configuration is read again.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final

from broker.config.configuration import Configuration
from broker.config.ssl_connection import CertificateLogin, TlsListener
from broker.server.certificates import Certificates
from broker.server.tls import AMQP

AMQPS: Final = "amqps"
HTTPS: Final = "https"
METRICS_TLS: Final = "metrics"

_ELEMENTS: Final = {
    AMQPS: AMQP,
    HTTPS: "management/http/sslConnection",
    METRICS_TLS: "management/metrics/sslConnection",
}

Use = Callable[[ssl.SSLContext], None]


class TlsListeners:
    """The certificates of all TLS listeners that are switched on."""

    def __init__(self, config: Configuration) -> None:
        """Read all stores. Raises ConfigError naming the file that cannot be used."""
        self.login: CertificateLogin = config.transports.amqp.ssl_connection.certificate_login
        """By what of their certificates clients of AMQP may log in."""
        self._by_name: Final = {
            name: Certificates(section, element=_ELEMENTS[name]) for name, section in _switched_on(config).items()
        }
        self._users: dict[str, Use] = {}

    def context(self, name: str) -> ssl.SSLContext | None:
        """Return the context for connections that come from now on; None where there is no TLS."""
        found = self._by_name.get(name)
        return None if found is None else found.context

    def end(self, name: str) -> float | None:
        """Return when the first certificate of a listener ends, in seconds since 1970; None if nobody can say."""
        found = self._by_name.get(name)
        return None if found is None else found.end

    def on_change(self, name: str, use: Use) -> None:
        """Let `use` have the contexts of a listener that come later."""
        self._users[name] = use

    def reload(self, config: Configuration) -> None:
        """Take the stores, versions and ciphers of another configuration, for the listeners there are.

        Raises ConfigError, and changes nothing, when one cannot be used.
        """
        read = {
            name: self._by_name[name].read(section)
            for name, section in _switched_on(config).items()
            if name in self._by_name
        }
        for name, take in read.items():
            take()
            if name == AMQPS:
                self.login = config.transports.amqp.ssl_connection.certificate_login
            self._tell(name)

    async def watch(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Look at the files for ever."""
        async with asyncio.TaskGroup() as tasks:
            for name, each in self._by_name.items():
                tasks.create_task(each.watch(partial(self._tell, name), sleep), name=f"certificates of {name}")

    def _tell(self, name: str) -> None:
        context, use = self.context(name), self._users.get(name)
        if context is not None and use is not None:
            use(context)


def _switched_on(config: Configuration) -> Mapping[str, TlsListener]:
    amqp, http, metrics = config.transports.amqp, config.management.http, config.management.metrics
    sections: dict[str, tuple[bool, TlsListener]] = {
        AMQPS: (amqp.enabled, amqp.ssl_connection),
        HTTPS: (http.enabled, http.ssl_connection),
        METRICS_TLS: (metrics.enabled, metrics.ssl_connection),
    }
    return {name: section for name, (is_on, section) in sections.items() if is_on and section.enabled}
