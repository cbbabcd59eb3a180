from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP, PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from broker.config.vault_cipher import decrypted, rsa_key
from tests.support.java_stores import OTHER_KEY_PASSWORD, OTHER_KEY_PASSWORD_JKS, PASSWORD, decoded
from tests.support.jks_writer import Key, jks

KEY = rsa.generate_private_key(65_537, 1024)
OTHER = rsa.generate_private_key(65_537, 1024)
PADDINGS = {
    "RSA": PKCS1v15(),
    "RSA/ECB/OAEPwithSHA1andMGF1Padding": OAEP(MGF1(SHA1()), SHA1(), None),
    "RSA/ECB/OAEPWithSHA-256AndMGF1Padding": OAEP(MGF1(SHA1()), SHA256(), None),
    "with SHA-256 twice": OAEP(MGF1(SHA256()), SHA256(), None),
}


def store(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, password: str) -> bytes:
    pkcs8 = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return jks([Key("wso2carbon", pkcs8, ())], password)


@pytest.mark.parametrize("padding", PADDINGS.values(), ids=PADDINGS)
@pytest.mark.parametrize("text", [b"", b"wso2carbon", "pässwört".encode(), bytes(40)])
def test_what_a_transformation_of_ciphertool_encrypts_is_decrypted(padding, text):
    assert decrypted(KEY.public_key().encrypt(text, padding), KEY) == text


@pytest.mark.parametrize("padding", PADDINGS.values(), ids=PADDINGS)
def test_what_is_encrypted_for_another_key_is_refused(padding):
    with pytest.raises(ValueError, match="not encrypted for the key"):
        decrypted(OTHER.public_key().encrypt(b"wso2carbon", padding), KEY)


@pytest.mark.parametrize("octets", [b"", b"abc", bytes(128), bytes(129), b"\xff" * 128])
def test_what_nobody_has_encrypted_is_refused(octets):
    with pytest.raises(ValueError, match="not encrypted for the key"):
        decrypted(octets, KEY)


def test_the_key_of_a_store_is_read(tmp_path: Path):
    (tmp_path / "s.jks").write_bytes(store(KEY, "changeit"))
    found = rsa_key(tmp_path / "s.jks", "wso2carbon", "changeit", "changeit")
    assert found.private_numbers() == KEY.private_numbers()


@pytest.mark.parametrize(
    ("key", "alias", "password", "complaint"),
    [
        (KEY, "wso2carbon", "wrong", "the password is wrong"),
        (KEY, "other", "changeit", "there is no private key 'other'"),
        (ec.generate_private_key(ec.SECP256R1()), "wso2carbon", "changeit", "no RSA key"),
    ],
)
def test_a_store_without_the_key_is_refused(tmp_path: Path, key, alias, password, complaint):
    (tmp_path / "s.jks").write_bytes(store(key, "changeit"))
    with pytest.raises(ValueError, match=complaint):
        rsa_key(tmp_path / "s.jks", alias, password, password)


def test_a_key_may_have_a_password_of_its_own(tmp_path: Path):
    (tmp_path / "s.jks").write_bytes(decoded(OTHER_KEY_PASSWORD_JKS))
    with pytest.raises(ValueError, match="the password of its private key is wrong"):
        rsa_key(tmp_path / "s.jks", "", PASSWORD, PASSWORD)
    with pytest.raises(ValueError, match="no RSA key"):
        rsa_key(tmp_path / "s.jks", "", PASSWORD, OTHER_KEY_PASSWORD)
