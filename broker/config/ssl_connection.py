"""`sslConnection` of `broker.xml`: TLS listeners, their stores, versions and ciphers (andes §1.2).

Says what is wanted; the files are read by the server.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import SecretStr, model_validator

from broker.config.values import (
    IN_HOME,
    NO_SECRET,
    Boolean,
    Names,
    Port,
    Section,
    TlsVersions,
    conflict,
    one_of,
    xml,
)

ProfileName = Annotated[
    Literal["cordillera", "rabbitmq-3.13", "strict-spec"], one_of("cordillera", "rabbitmq-3.13", "strict-spec")
]
"""This broker's own: whose rules hold on a listener where programs expect different ones (ADR 43)."""

SAFE_TLS_VERSIONS: Final = ("TLSv1.2", "TLSv1.3")
_SHIPPED: Final = ("TLSv1",)
"""What WSO2's `broker.xml` has as shipped: nobody chose it (ADR 48)."""

ClientAuth = Annotated[Literal["false", "want", "true"], one_of("false", "want", "true")]
CertificateLogin = Annotated[
    Literal["off", "commonName", "subject", "dns", "email", "uri"],
    one_of("off", "commonName", "subject", "dns", "email", "uri"),
]
FileInHome = Annotated[str, IN_HOME]


class KeyStore(Section):
    """A file with this broker's key and certificates."""

    location: FileInHome = xml("location", "")
    password: SecretStr = xml("password", NO_SECRET)
    # This broker's own: which key of a Java key store with several.
    key_alias: str = xml("keyAlias", "")


class TrustStore(Section):
    """A file with trusted certificates."""

    location: FileInHome = xml("location", "")
    password: SecretStr = xml("password", NO_SECRET)


class TlsListener(Section):
    """A TLS listener, whatever is spoken on it."""

    enabled: Boolean = xml("@enabled", False)
    port: Port = xml("@port", 0)
    key_store: KeyStore = xml("keyStore", KeyStore())
    trust_store: TrustStore = xml("trustStore", TrustStore())
    ssl_enabled_protocols: TlsVersions = xml("sslEnabledProtocols", SAFE_TLS_VERSIONS)
    ciphers: Names = xml("ciphers", ())
    # This broker's own: whether clients are asked for certificates.
    client_auth: ClientAuth = xml("clientAuth", "want")

    @property
    def tls_versions(self) -> tuple[str, ...]:
        """The versions that the listener speaks: of those in the file the safe ones."""
        given = self.ssl_enabled_protocols
        return SAFE_TLS_VERSIONS if given == _SHIPPED else tuple(each for each in given if each in SAFE_TLS_VERSIONS)

    @property
    def outdated_tls_versions(self) -> tuple[str, ...]:
        """The versions in the file that the listener does not speak."""
        return tuple(each for each in self.ssl_enabled_protocols if each not in SAFE_TLS_VERSIONS)

    @property
    def asks_for_certificates(self) -> bool:
        """Are clients asked to show a certificate?"""
        return bool(self.trust_store.location) and self.client_auth != "false"

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        if not self.enabled:
            return self
        if not self.tls_versions:
            conflict(
                "sslEnabledProtocols",
                f"{', '.join(self.outdated_tls_versions)}: none of them is safe any more; use TLSv1.2, TLSv1.3 or both",
            )
        if self.ciphers:
            self._judge_ciphers()
        if not self.key_store.location:
            conflict("keyStore", "the connection is enabled, so keyStore/location must name a file")
        if self.client_auth == "true" and not self.trust_store.location:
            conflict("clientAuth", "certificates of clients are required, so trustStore/location must name a file")
        return self

    def _judge_ciphers(self) -> None:
        from broker.config.ciphers import cipher_list  # loads OpenSSL

        if "TLSv1.2" not in self.tls_versions:
            conflict("ciphers", "they are for TLS 1.2, which sslEnabledProtocols leaves out; leave ciphers empty")
        try:
            cipher_list(self.ciphers)
        except ValueError as error:
            conflict("ciphers", str(error))


class HttpTls(TlsListener):
    """The TLS listener of the HTTP API."""

    port: Port = xml("@port", 15671)


class MetricsTls(TlsListener):
    """The TLS listener of metrics."""

    port: Port = xml("@port", 15691)


class SslConnection(TlsListener):
    """The TLS listener of AMQP."""

    port: Port = xml("@port", 8672)
    profile: ProfileName = xml("@profile", "cordillera")
    # This broker's own: whether clients may log in with their certificates.
    certificate_login: CertificateLogin = xml("certificateLogin", "off")

    @model_validator(mode="after")
    def _can_have_logins(self) -> Self:
        if self.enabled and self.certificate_login != "off" and not self.asks_for_certificates:
            conflict(
                "certificateLogin",
                f"'{self.certificate_login}' needs certificates of clients: name a trustStore, and leave clientAuth at"
                " want or true",
            )
        return self
