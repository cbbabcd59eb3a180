"""What WSO2's ciphertool has encrypted: RSA with the key of a key store, and the padding of whichever transformation.

ciphertool encrypts with Java's `RSA`, which pads as PKCS #1 v1.5, or with what `org.wso2.CipherTransformation` names,
of which its files tell nothing. So each padding is tried, those first that recognise themselves without doubt.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from broker.config.key_stores import key_and_chain, read_store

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

_LEAST_PADDING: Final = 8


def rsa_key(location: Path, alias: str, password: str, key_password: str) -> RSAPrivateKey:
    """Return the private key of a key store. Raises ValueError."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    pem = key_and_chain(read_store(location), password, alias, key_password).pem
    key = load_pem_private_key(pem, None)
    if not isinstance(key, RSAPrivateKey):
        raise ValueError(f"its key '{alias}' is no RSA key")
    return key


def decrypted(octets: bytes, key: RSAPrivateKey) -> bytes:
    """Return what was encrypted. Raises ValueError when it was not for this key."""
    from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
    from cryptography.hazmat.primitives.hashes import SHA1, SHA256

    if len(octets) == (key.key_size + 7) // 8:
        # Java's OAEP with SHA-256 keeps SHA-1 for the mask.
        for label_hash, mask_hash in ((SHA1, SHA1), (SHA256, SHA1), (SHA256, SHA256)):
            try:
                return key.decrypt(octets, OAEP(MGF1(mask_hash()), label_hash(), None))
            except ValueError:
                continue
        if (text := _without_padding(_raw(octets, key))) is not None:
            return text
    raise ValueError("it was not encrypted for the key that secret-conf.properties names")


def _raw(octets: bytes, key: RSAPrivateKey) -> bytes:
    """Return the padded text (RFC 8017, RSADP).

    The library would take its padding away, but returns random octets when there is none (implicit rejection, for
    servers that are asked often): a password encrypted for another key would become a wrong password.
    """
    numbers = key.private_numbers()
    cipher = int.from_bytes(octets, "big")
    first, second = pow(cipher, numbers.dmp1, numbers.p), pow(cipher, numbers.dmq1, numbers.q)
    text = second + numbers.q * ((first - second) * numbers.iqmp % numbers.p)
    return text.to_bytes(len(octets), "big")


def _without_padding(block: bytes) -> bytes | None:
    """Return the text in a block of PKCS #1 v1.5: 0, 2, at least eight octets other than 0, 0, text (RFC 8017)."""
    end = block.find(0, 2)
    if not block.startswith(b"\0\2") or end < 2 + _LEAST_PADDING:
        return None
    return block[end + 1 :]
