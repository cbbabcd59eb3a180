"""Tokens with real signatures of real keys, and everything that only looks like one."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import trustme
from joserfc.jwk import OctKey, RSAKey

from broker.auth.token_claims import TokenRefused
from broker.auth.token_signatures import MAX_KEYS, MAX_TOKEN, Key, Signatures, key_id, key_of_pem, keys_in_set
from broker.config.authentication import ALGORITHMS
from tests.support.tokens import (
    base64url,
    ec_key,
    ed_key,
    key_set,
    private_pem,
    public_pem,
    rsa_key,
    signed,
    signed_by_the_public_key,
    unsigned,
)

CLAIMS = {"sub": "ann"}
SIGNATURES = Signatures(ALGORITHMS)


def public(key: object) -> Key:
    (found,) = keys_in_set(key_set(key)).values()
    return found


def verified(token: str, key: object, signatures: Signatures = SIGNATURES) -> object:
    return signatures.claims(signatures.parse(token), public(key))


def refusal(token: str, key: object, signatures: Signatures = SIGNATURES) -> str:
    with pytest.raises(TokenRefused) as refused:
        verified(token, key, signatures)
    assert token[:40] not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_that_is_listed_verifies(algorithm: str) -> None:
    curves = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
    if algorithm in curves:
        key: object = ec_key(curve=curves[algorithm])
    else:
        key = ed_key() if algorithm.startswith("Ed") else rsa_key()
    token = signed(CLAIMS, key, algorithm, typ="JWT", whatever=[1])
    assert verified(token, key) == CLAIMS
    assert key_id(SIGNATURES.parse(token)) == key.kid  # type: ignore[attr-defined]
    head, _, signature = token.rpartition(".")
    other = "A" if signature[5] != "A" else "B"
    assert refusal(f"{head}.{signature[:5]}{other}{signature[6:]}", key) == "its signature is not that of its key"


def test_what_was_changed_or_signed_by_another_is_refused() -> None:
    token, other = signed(CLAIMS, ec_key()), signed({"sub": "eve"}, ec_key())
    head, _, signature = token.split(".")
    mixed = f"{head}.{other.split('.')[1]}.{signature}"
    assert refusal(mixed, ec_key()) == "its signature is not that of its key"
    assert refusal(token, ec_key("another")) == "its signature is not that of its key"


NO_TOKEN = "it is no JSON Web Token with a signature"


NO_ALGORITHM = "its algorithm is not permitted"
TOO_LONG = f"it is longer than {MAX_TOKEN} octets, or no ASCII"
NO_JSON = "its claims are no JSON"

WRONG: dict[str, tuple[Callable[[], str], str]] = {
    "none": (lambda: unsigned(CLAIMS, kid="ec"), NO_ALGORITHM),
    "a public key as a secret": (lambda: signed_by_the_public_key(CLAIMS, rsa_key()), NO_ALGORITHM),
    "another curve": (lambda: signed(CLAIMS, ec_key(curve="secp256k1"), "ES256K"), NO_ALGORITHM),
    "no header": (lambda: "eyJ.e30.", NO_TOKEN),
    "two parts": (lambda: "eyJhbGciOiJFUzI1NiJ9.e30", NO_TOKEN),
    "encrypted": (lambda: "eyJhbGciOiJFUzI1NiJ9.e30.x.y.z", NO_TOKEN),
    "no algorithm": (lambda: "eyJ4IjoxfQ.e30.", NO_TOKEN),
    "a number as algorithm": (lambda: "eyJhbGciOjF9.e30.", NO_TOKEN),
    "a list as algorithm": (lambda: "eyJhbGciOltdfQ.e30.", NO_TOKEN),
    "a list as header": (lambda: "WyJhbGciXQ.e30.AA", NO_TOKEN),
    "no Base64": (lambda: "eyJhbGciOiJFUzI1NiJ9.e3!0.AA", NO_TOKEN),
    "no ASCII": (lambda: "eyJhbGciOiJFUzI1NiJ9.é.AA", TOO_LONG),
    "too long": (lambda: signed(b"x" * MAX_TOKEN, ec_key()), TOO_LONG),
    "a critical header": (lambda: signed(CLAIMS, ec_key(), crit=["exp"], exp=1), NO_TOKEN),
    "a critical number": (lambda: signed(CLAIMS, ec_key(), crit=7), NO_TOKEN),
    "a large header": (lambda: signed(CLAIMS, ec_key(), x=["x" * 9000]), NO_TOKEN),
    "a large signature": (lambda: signed(CLAIMS, ec_key()) + "A" * 4000, NO_TOKEN),
    "deep JSON": (lambda: signed(b"[" * 20_000, ec_key()), NO_JSON),
    "a deep header": (lambda: f"{base64url(b'[' * 5000)}.e30.AA", NO_TOKEN),
    "infinity": (lambda: signed(b'{"exp": Infinity}', ec_key()), NO_JSON),
    "a long number": (lambda: signed(b'{"exp": ' + b"9" * 5000 + b"}", ec_key()), NO_JSON),
    "no UTF-8": (lambda: signed(b"\xff", ec_key()), NO_JSON),
    "a list of claims": (lambda: signed([CLAIMS], ec_key()), "its claims are no JSON object"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_signed_token_is_refused(name: str) -> None:
    new, reason = WRONG[name]
    assert refusal(new(), ec_key()) == reason


def test_an_algorithm_counts_only_with_a_key_of_its_kind() -> None:
    reason = "its key is not for this algorithm, or not for signatures"
    assert refusal(signed(CLAIMS, ec_key()), rsa_key()) == reason
    assert refusal(signed(CLAIMS, rsa_key(), "RS256"), ec_key()) == reason
    assert refusal(signed(CLAIMS, ec_key(), "ES256"), ec_key(curve="P-384")) == reason
    narrow = RSAKey.import_key({**rsa_key().as_dict(private=True), "alg": "RS512"})
    assert refusal(signed(CLAIMS, rsa_key(), "RS256"), narrow) == reason
    assert verified(signed(CLAIMS, rsa_key(), "RS512"), narrow) == CLAIMS


def test_algorithms_can_be_fewer() -> None:
    signatures = Signatures(("ES256",))
    assert verified(signed(CLAIMS, ec_key()), ec_key(), signatures) == CLAIMS
    assert refusal(signed(CLAIMS, rsa_key(), "RS256"), rsa_key(), signatures) == "its algorithm is not permitted"


@pytest.mark.filterwarnings("ignore:Key size")
def test_a_key_set_is_read_for_its_public_keys() -> None:
    encryption = {**ec_key("enc").as_dict(private=False), "use": "enc"}
    weak = RSAKey.generate_key(1024, {"kid": "weak"})
    others = [
        encryption,
        weak.as_dict(private=False),
        OctKey.generate_key(256, {"kid": "oct"}).as_dict(private=True),
        {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
        {"kty": "AKP", "kid": "later"},
        {"kty": "EC", "kid": 7},
        "no object",
    ]
    given = json.loads(key_set(ec_key(), rsa_key())) | {}
    keys = keys_in_set(json.dumps({"keys": [*given["keys"], *others]}).encode())
    assert sorted(keys) == ["ec", "rsa"]
    private = keys_in_set(json.dumps({"keys": [ec_key().as_dict(private=True)]}).encode())["ec"]
    assert not private.is_private


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"", "it is no JSON Web Key Set"),
        (b"[]", "it is no JSON Web Key Set"),
        (b"{}", "it is no JSON Web Key Set"),
        (b"[" * 100_000, "it is no JSON Web Key Set"),
        (b'{"keys": 1}', f"it is no JSON Web Key Set of at most {MAX_KEYS} keys"),
        (json.dumps({"keys": [{}] * (MAX_KEYS + 1)}).encode(), f"it is no JSON Web Key Set of at most {MAX_KEYS} keys"),
        (b'{"keys": []}', "it holds no public key for signatures"),
        (b'{"keys": [{"kty": "oct", "k": "AAAA", "kid": "x"}]}', "it holds no public key for signatures"),
    ],
)
def test_what_is_no_key_set_is_said(octets: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        keys_in_set(octets)


def test_a_pem_file_has_a_public_key_or_a_certificate() -> None:
    for key, algorithm in ((rsa_key(), "RS256"), (ec_key(), "ES256"), (ed_key(), "Ed25519")):
        found = key_of_pem(public_pem(key))
        assert SIGNATURES.claims(SIGNATURES.parse(signed(CLAIMS, key, algorithm)), found) == CLAIMS
    authority = trustme.CA()
    found = key_of_pem(authority.cert_pem.bytes())
    assert not found.is_private


@pytest.mark.filterwarnings("ignore:Key size")
def test_a_pem_file_with_anything_else_is_refused() -> None:
    with pytest.raises(ValueError, match="it holds a private key; give the public one"):
        key_of_pem(private_pem(rsa_key()))
    weak = public_pem(RSAKey.generate_key(1024))
    for octets in (b"", b"x", weak, b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        with pytest.raises(ValueError, match="it holds no public key for signatures in PEM"):
            key_of_pem(octets)
