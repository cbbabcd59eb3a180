"""`sslConnection`: what follows from its elements."""

from __future__ import annotations

import pytest

from broker.config.ssl_connection import SslConnection, TrustStore


@pytest.mark.parametrize(
    ("given", "served", "outdated"),
    [
        ("TLSv1.2,TLSv1.3", ("TLSv1.2", "TLSv1.3"), ()),
        ("tlsv1.3", ("TLSv1.3",), ()),
        ("SSLv2Hello,SSLv3,TLSv1,TLSv1.1,TLSv1.2", ("TLSv1.2",), ("SSLv2Hello", "SSLv3", "TLSv1", "TLSv1.1")),
        ("TLSv1", ("TLSv1.2", "TLSv1.3"), ("TLSv1",)),
        ("TLSv1.1", (), ("TLSv1.1",)),
    ],
)
def test_of_the_versions_in_a_file_the_safe_ones_are_served(
    given: str, served: tuple[str, ...], outdated: tuple[str, ...]
) -> None:
    connection = SslConnection.model_validate({"sslEnabledProtocols": given})
    assert (connection.tls_versions, connection.outdated_tls_versions) == (served, outdated)


@pytest.mark.parametrize(
    ("location", "client_auth", "asks"),
    [("t", "want", True), ("t", "true", True), ("t", "FALSE", False), ("", "want", False)],
)
def test_clients_are_asked_for_certificates_by_which_they_can_be_checked(
    location: str, client_auth: str, asks: bool
) -> None:
    trusted = TrustStore.model_validate({"location": location})
    connection = SslConnection.model_validate({"trustStore": trusted, "clientAuth": client_auth})
    assert connection.asks_for_certificates is asks
