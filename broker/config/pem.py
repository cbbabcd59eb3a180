"""Certificates and private keys as files.

Only the PEM format is checked, so that a wrong file is reported with the element that names it. Certificates are not
verified here.
"""

from __future__ import annotations

import re
from pathlib import Path

_MAX_BYTES = 1_048_576
_FILE_URL = re.compile(r"file:(//(?=/))?")


def pem_file(location: str) -> Path:
    """Return the PEM file at `location`, a path or a `file:` URL; a relative one starts at the current directory.

    Raises ValueError.
    """
    path = Path(_FILE_URL.sub("", location, count=1)).expanduser()
    content = _content(path)
    if b"-----BEGIN " not in content:
        raise ValueError(f"'{path}' is not a PEM file; convert a JKS or PKCS #12 store with keytool and openssl")
    if b"ENCRYPTED" in content:
        # Refused because the TLS library would ask for the passphrase on the terminal.
        raise ValueError(f"'{path}' has an encrypted private key; use one without a passphrase")
    return path


def has_private_key(path: Path) -> bool:
    return b"PRIVATE KEY-----" in _content(path)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES)
    except OSError as error:
        raise ValueError(f"file '{path}' cannot be read: {error.strerror}") from error
