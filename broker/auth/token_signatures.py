"""The signatures of tokens: JWS in its compact form (RFC 7515), by keys of RSA, elliptic curves and Ed25519.

joserfc does the work, with algorithms that are listed and fit the type of the key: `none` and shared secrets are not
among them, so a public key can never be taken for a secret. It is in the extra `oauth`, and this module is imported
only where tokens are configured.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from typing import Any, Final, NoReturn, TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, OKPKey, RSAKey
from joserfc.jws import CompactSignature, JWSRegistry, extract_compact, validate_compact

from broker.auth.token_claims import TokenRefused

Key: TypeAlias = RSAKey | ECKey | OKPKey
Parsed: TypeAlias = CompactSignature
"""A token in its parts; nothing of it is verified."""

MAX_TOKEN: Final = 65_536
"""Octets of a token."""
MAX_KEYS: Final = 100
"""Keys of a set; further ones are an error."""
_RSA_BITS: Final = range(2048, 8193)
_MALFORMED: Final = (JoseError, UnsupportedAlgorithm, ValueError, TypeError, KeyError, AttributeError, RecursionError)
"""What the library raises for tokens and keys that are none."""


class _Registry(JWSRegistry):
    """The algorithms that are listed, and tokens of any size up to `MAX_TOKEN`."""

    max_header_length = 8192
    max_payload_length = MAX_TOKEN
    max_signature_length = 2048

    def get_alg(self, name: str) -> Any:
        if name not in (self.allowed or ()):
            raise TokenRefused("its algorithm is not permitted")
        return self.algorithms[name]


class Signatures:
    """Verifies tokens by keys that are handed in."""

    def __init__(self, algorithms: tuple[str, ...]) -> None:
        """`algorithms` are names of JWA, of signatures alone."""
        self._registry = _Registry(algorithms=algorithms, strict_check_header=False)

    def parse(self, token: str) -> Parsed:
        """Return a token in parts. Raises `TokenRefused`."""
        if len(token) > MAX_TOKEN or not token.isascii():
            raise TokenRefused(f"it is longer than {MAX_TOKEN} octets, or no ASCII")
        try:
            parsed = extract_compact(token.encode(), None, self._registry)
            self._registry.check_header(parsed.headers())
            self._registry.get_alg(parsed.headers()["alg"])
        except _MALFORMED:
            raise TokenRefused("it is no JSON Web Token with a signature") from None
        return parsed

    def claims(self, parsed: Parsed, key: Key) -> Mapping[str, Any]:
        """Return the claims of a token that this key has signed. Raises `TokenRefused`."""
        algorithm = parsed.headers()["alg"]
        if key.get("use", "sig") != "sig" or key.get("alg", algorithm) not in _same(algorithm):
            raise TokenRefused("its key is not for this algorithm, or not for signatures")
        try:
            is_genuine = validate_compact(parsed, key, registry=self._registry)
        except _MALFORMED:
            raise TokenRefused("its key is not for this algorithm, or not for signatures") from None
        if not is_genuine:
            raise TokenRefused("its signature is not that of its key")
        try:
            claims = json.loads(parsed.payload or b"", parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            raise TokenRefused("its claims are no JSON") from None
        if not isinstance(claims, dict):
            raise TokenRefused("its claims are no JSON object")
        return claims


def key_id(parsed: Parsed) -> str:
    """Return which key a token names, empty for none."""
    kid = parsed.headers().get("kid", "")
    return kid if isinstance(kid, str) else ""


def keys_in_set(octets: bytes) -> dict[str, Key]:
    """Return the keys of a JSON Web Key Set by their ids; one of another kind, or without an id, is left out.

    Raises ValueError, with what is wrong, when there is none.
    """
    try:
        given = json.loads(octets)["keys"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError("it is no JSON Web Key Set") from None
    if not isinstance(given, list) or len(given) > MAX_KEYS:
        raise ValueError(f"it is no JSON Web Key Set of at most {MAX_KEYS} keys")
    keys = {}
    for each in given:
        kid = each.get("kid", "") if isinstance(each, dict) else None
        key = _from_jwk(each) if isinstance(kid, str) else None
        if key is not None and isinstance(kid, str):
            keys[kid] = key
    if not keys:
        raise ValueError("it holds no public key for signatures")
    return keys


def key_of_pem(octets: bytes) -> Key:
    """Return the public key of a PEM file, which may be a certificate. Raises ValueError with what is wrong."""
    if b"PRIVATE KEY-----" in octets:
        raise ValueError("it holds a private key; give the public one")
    try:
        is_certificate = b"BEGIN CERTIFICATE" in octets
        public: Any = load_pem_x509_certificate(octets).public_key() if is_certificate else load_pem_public_key(octets)
        kind = {RSAPublicKey: "RSA", EllipticCurvePublicKey: "EC"}
        kty = next((name for type_, name in kind.items() if isinstance(public, type_)), "OKP")
        key = _checked(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), kty)
    except _MALFORMED:
        key = None
    if key is None:
        raise ValueError("it holds no public key for signatures in PEM")
    return key


def _from_jwk(given: Mapping[str, Any]) -> Key | None:
    public = {name: value for name, value in given.items() if name not in ("d", "p", "q", "dp", "dq", "qi", "x5c")}
    try:
        return _checked(public, str(given.get("kty"))) if given.get("use", "sig") == "sig" else None
    except _MALFORMED:
        return None


def _checked(given: Any, kty: str) -> Key | None:
    """Return a key that signatures can be verified by; None for another kind, and for one of unsafe size."""
    if kty not in ("RSA", "EC", "OKP"):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        key = JWKRegistry.import_key(given, kty)
        raw = key.raw_value
    if isinstance(raw, RSAPublicKey) and raw.key_size not in _RSA_BITS:
        return None
    return key if isinstance(key, RSAKey | ECKey | OKPKey) else None


def _same(algorithm: str) -> tuple[str, ...]:
    """Return the names of an algorithm: Ed25519 had another one."""
    return ("EdDSA", "Ed25519") if algorithm in ("EdDSA", "Ed25519") else (algorithm,)


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")
