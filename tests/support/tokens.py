"""An issuer of tokens: keys, a key set, and tokens that are signed by them, right and wrong ones.

Knows joserfc and what RabbitMQ's tokens look like; must not judge what the broker does with them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

EVERYTHING = ("rabbitmq.configure:*/*", "rabbitmq.write:*/*", "rabbitmq.read:*/*")


@cache
def rsa_key(kid: str = "rsa") -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": kid})


@cache
def ec_key(kid: str = "ec", curve: str = "P-256") -> ECKey:
    return ECKey.generate_key(curve, {"kid": kid})


@cache
def ed_key(kid: str = "ed") -> OKPKey:
    return OKPKey.generate_key("Ed25519", {"kid": kid})


def key_set(*keys: Any) -> bytes:
    """Return the public halves of keys as an issuer publishes them."""
    return json.dumps({"keys": [key.as_dict(private=False) for key in keys]}).encode()


def public_pem(key: Any) -> bytes:
    pem: bytes = key.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


def private_pem(key: Any) -> bytes:
    pem: bytes = key.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem


def claims_of(scopes: Sequence[str] = EVERYTHING, *, now: float, **others: Any) -> dict[str, Any]:
    """Return the claims of a token for an hour; a claim that is None is left out."""
    claims = {"sub": "ann", "aud": ["rabbitmq"], "exp": now + 3600, "scope": " ".join(scopes), **others}
    return {name: value for name, value in claims.items() if value is not None}


def signed(payload: Any, key: Any, algorithm: str = "ES256", **header: Any) -> str:
    """Return a token. `payload` is JSON, or octets that are signed as they are."""
    octets = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    start = f"{_part({'alg': algorithm, 'kid': key.kid, **header})}.{base64url(octets)}"
    return f"{start}.{base64url(JWSRegistry.algorithms[algorithm].sign(start.encode(), key))}"


def unsigned(payload: Any, **header: Any) -> str:
    """Return a token with the algorithm `none`."""
    return ".".join([_part({"alg": "none", **header}), _part(payload), ""])


def signed_by_the_public_key(payload: Any, key: Any) -> str:
    """Return a token whose shared secret is the public key of the issuer, which everybody knows."""
    secret = object.__new__(OctKey)
    OctKey.__init__(secret, public_pem(key), public_pem(key))
    algorithm = JWSRegistry.algorithms["HS256"]
    start = f"{_part({'alg': 'HS256', 'kid': key.kid})}.{_part(payload)}"
    return f"{start}.{base64url(algorithm.sign(start.encode(), secret))}"


def _part(value: Any) -> str:
    return base64url(json.dumps(value).encode())


def base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
