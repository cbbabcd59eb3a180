"""The cipher suites of TLS 1.2, by OpenSSL's names, groups and operators, or by Java's names as in WSO2's files.

Suites that do not authenticate the server or do not encrypt are never among them.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence
from typing import Final

_TLS_1_3: Final = re.compile(r"TLS_(AES|CHACHA20)_\w+")
_JAVA: Final = re.compile(r"(?:TLS|SSL)_(\w+?)_WITH_(\w+)")
_NO_SUITE: Final = "TLS_EMPTY_RENEGOTIATION_INFO_SCSV"
"""Java's way to ask for secure renegotiation, which OpenSSL always offers."""
_SAFE: Final = ":!aNULL:!eNULL"
_OPERATORS: Final = "!-+"
_SEPARATOR: Final = re.compile(r"[:,; ]+")


FFDHE2048: Final = """\
-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
"""
"""The group of RFC 7919 that clients of every age take: suites with DHE need one, which OpenSSL does not choose."""


def cipher_list(names: Sequence[str]) -> str:
    """Return what `set_ciphers` of an SSL context takes for `names`. Raises ValueError naming the one that is wrong."""
    chosen = [name for given in names for name in _SEPARATOR.split(given) if name and name != _NO_SUITE]
    for name in chosen:
        _judge(name)
    selected = ":".join(map(openssl_name, chosen))
    if not _selects(selected + _SAFE):
        raise ValueError(f"'{','.join(names)}' leaves no cipher suite for TLS 1.2")
    return selected + _SAFE


def openssl_name(name: str) -> str:
    """Return OpenSSL's name for a suite that Java names `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256`; others as they are."""
    java = _JAVA.fullmatch(name)
    if java is None:
        return name
    exchange = "" if java[1] == "RSA" else f"{java[1].replace('_', '-')}-"
    exchange = exchange.replace("ECDH-anon", "AECDH").replace("DH-anon", "ADH")
    cipher = re.sub(r"(AES|CAMELLIA)_(\d+)", r"\1\2", java[2]).replace("_CBC", "").replace("_", "-")
    return exchange + cipher.replace("POLY1305-SHA256", "POLY1305").replace("CCM-8", "CCM8")


def _judge(name: str) -> None:
    if _TLS_1_3.fullmatch(name):
        raise ValueError(
            f"'{name}' is a cipher suite of TLS 1.3, whose suites cannot be chosen; leave it out,"
            " or set sslEnabledProtocols to TLSv1.2"
        )
    bare = openssl_name(name.lstrip(_OPERATORS))
    if not _selects(bare):
        raise ValueError(f"'{name}' is no cipher suite of {ssl.OPENSSL_VERSION}, by OpenSSL's name or by Java's")
    if name[0] not in _OPERATORS and not _selects(bare + _SAFE):
        raise ValueError(f"'{name}' does not authenticate the server or does not encrypt")


def _selects(text: str) -> bool:
    """Does this choose any suite?"""
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).set_ciphers(text)
    except (ssl.SSLError, ValueError):  # ValueError: a character that no name has
        return False
    return True
