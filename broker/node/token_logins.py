"""Builds the login by tokens that `authentication/oauth2` of `broker.xml` describes."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from broker.auth.access import AccessControl
from broker.auth.identity import Authenticator
from broker.clock import SystemClock
from broker.config.authentication import OAuth2
from broker.errors import ConfigError

if TYPE_CHECKING:
    from broker.auth.signing_keys import SigningKeys

_T = TypeVar("_T")

WithTokens = Callable[[Authenticator, AccessControl], tuple[Authenticator, AccessControl]]
"""Lets clients log in by tokens, and do what these permit, beside those whom the arguments know."""


def token_logins(settings: OAuth2) -> WithTokens | None:
    """Return the login by tokens, None if none is configured.

    Raises `ConfigError` when the extra is not installed, and for files of keys that cannot be used.
    """
    if not settings.enabled:
        return None
    try:
        from broker.auth.token_signatures import Signatures
    except ImportError as error:
        raise ConfigError(
            f"authentication/oauth2 needs the package joserfc ({error}): pip install 'cordillera[oauth]',"
            ' or set enabled="false"'
        ) from error
    from broker.auth.scopes import GrantedAccess
    from broker.auth.token_claims import ClaimRules
    from broker.auth.tokens import TokenLogins, VerifiedTokens

    rules = ClaimRules(
        settings.resource_server_id,
        settings.scope_prefix or f"{settings.resource_server_id}.",
        settings.additional_scopes_key.split(),
        settings.preferred_username_claims,
        settings.verify_aud,
        settings.issuer,
        settings.clock_skew,
        {alias.name: alias.scopes.split() for alias in settings.scope_alias},
    )
    clock = SystemClock()  # tokens end by the time of the world, not by that of the database
    signatures = Signatures(settings.algorithms)
    keys = _keys(settings, clock.monotonic)
    verified = VerifiedTokens(secrets.token_bytes(32))

    def with_tokens(users: Authenticator, access: AccessControl) -> tuple[Authenticator, AccessControl]:
        logins = TokenLogins(
            users,
            rules,
            signatures,
            keys,
            verified,
            monotonic=clock.monotonic,
            wall=lambda: clock.wall_ms() / 1000,
        )
        return logins, GrantedAccess(access)

    return with_tokens


def _keys(settings: OAuth2, monotonic: Callable[[], float]) -> SigningKeys:
    from broker.auth.signing_keys import Fetch, SigningKeys, read_file
    from broker.auth.token_signatures import key_of_pem, keys_in_set

    def used(location: str, element: str, use: Callable[[bytes], _T]) -> _T:
        try:
            return use(read_file(location))
        except (OSError, ValueError) as error:
            raise _wrong(element, location, error) from error

    fixed = {each.id: used(each.location, "signingKey", key_of_pem) for each in settings.signing_key}
    read: Callable[[], bytes] | None = None
    if settings.jwks_file:
        used(settings.jwks_file, "jwksFile", keys_in_set)
        read = partial(read_file, settings.jwks_file)
    elif settings.jwks_url:
        try:
            read = Fetch(settings.jwks_url, settings.jwks_certificates)
        except OSError as error:
            raise _wrong("jwksCertificates", settings.jwks_certificates, error) from error
    return SigningKeys(fixed, read, monotonic)


def _wrong(element: str, location: str, error: OSError | ValueError) -> ConfigError:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return ConfigError(f"authentication/oauth2/{element}: {location}: {reason}")
