"""`authentication` of `broker.xml`: this broker's own, logins by tokens of OAuth 2 (ADR 55).

Says what is wanted; files and addresses are read by the node.
"""

from __future__ import annotations

from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, model_validator

from broker.config.ssl_connection import FileInHome
from broker.config.values import Boolean, Names, Section, conflict, number, xml

ALGORITHMS: Final = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "Ed25519",
    "EdDSA",
)
"""Signatures by which a token may be verified; no shared secrets."""
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


def _algorithms(value: object) -> object:
    names = [name.strip() for name in value.split(",")] if isinstance(value, str) else value
    if not isinstance(names, list | tuple):
        return value
    for name in names:
        if name not in ALGORITHMS:
            raise ValueError(f"'{name}' is not one of {', '.join(ALGORITHMS)}")
    return tuple(names)


def _url(value: object) -> str:
    parts = urlsplit(str(value))
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    if str(value) and not (is_safe and parts.hostname):
        raise ValueError(f"'{value}' is no address that begins with https:// (http:// is for this machine only)")
    return str(value)


class SigningKey(Section):
    """A public key, or a certificate with it, in a PEM file."""

    id: str = xml("@id", "")
    """The `kid` of tokens; empty for those that name none."""
    location: FileInHome = xml("@location", "")

    @model_validator(mode="after")
    def _has_a_file(self) -> Self:
        if not self.location:
            conflict("@location", "name the PEM file of the key")
        return self


class ScopeAlias(Section):
    """What a scope of the issuer's stands for."""

    name: str = xml("@name", "")
    scopes: str = xml("@scopes", "")
    """Scopes of this broker, with blanks between them."""

    @model_validator(mode="after")
    def _has_a_name(self) -> Self:
        if not self.name:
            conflict("@name", "name the scope that stands for others")
        return self


class OAuth2(Section):
    """Logins by tokens, as RabbitMQ's plugin for OAuth 2 has them."""

    enabled: Boolean = xml("@enabled", False)
    resource_server_id: str = xml("resourceServerId", "")
    scope_prefix: str = xml("scopePrefix", "")
    additional_scopes_key: str = xml("additionalScopesKey", "")
    preferred_username_claims: Names = xml("preferredUsernameClaims", ("sub", "client_id"))
    verify_aud: Boolean = xml("verifyAud", True)
    issuer: str = xml("issuer", "")
    algorithms: Annotated[tuple[str, ...], BeforeValidator(_algorithms)] = xml("algorithms", ALGORITHMS)
    clock_skew: Annotated[float, number(0, 300)] = xml("clockSkew", 10.0)
    jwks_url: Annotated[str, BeforeValidator(_url)] = xml("jwksUrl", "")
    jwks_certificates: FileInHome = xml("jwksCertificates", "")
    jwks_file: FileInHome = xml("jwksFile", "")
    signing_key: tuple[SigningKey, ...] = xml("signingKey", ())
    scope_alias: tuple[ScopeAlias, ...] = xml("scopeAlias", ())

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if not self.enabled:
            return self
        if not self.resource_server_id:
            conflict("resourceServerId", "name this broker as tokens name it, for example rabbitmq")
        if self.jwks_url and self.jwks_file:
            conflict("jwksFile", "there is a jwksUrl already; name one of them")
        if not (self.jwks_url or self.jwks_file or self.signing_key):
            conflict("jwksUrl", "name a jwksUrl, a jwksFile or a signingKey, by which tokens are verified")
        return self


class Authentication(Section):
    """Who may log in beside the users of the database."""

    oauth2: OAuth2 = xml("oauth2", OAuth2())
