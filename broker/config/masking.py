"""Keeps secrets out of texts that show a configuration.

A password is not known by its name, which may be misspelt, nor by its place, which differs from driver to driver. So
what is shown is listed: everything else in a URL that may be one is masked.
"""

from __future__ import annotations

import re
from typing import Final

MASK: Final = "********"

_URL: Final = re.compile(r"(?i)\b(?:jdbc:[a-z]|[a-z][a-z0-9+.-]*://)")
_KIND: Final = re.compile(r"(?i)(?:jdbc:)?[a-z][a-z0-9+.-]*:")
_FOREIGN: Final = re.compile(r"(?i)\bjdbc:(?!(?:sqlite|h2):|(?:mysql|mariadb|postgres|postgresql)://)[a-z0-9]*:?")
"""The beginning of a JDBC URL in the form of another driver."""
_CREDENTIALS: Final = re.compile(r"(//[^:@]*):.*@", re.DOTALL)
_LATER_CREDENTIALS: Final = re.compile(r"(//[^:@/?#]*@[^:/?#]*):[^/?#]*@")
"""Those that stand behind another '@', as of a second host."""
_UP_TO_PARENTHESIS: Final = re.compile(r"//.*\)", re.DOTALL)
_PAIR: Final = re.compile(r"[(,]\s*([^=(),]*?)\s*=")
_OF_ADDRESS: Final = frozenset(("host", "port", "type"))
_PARAMETER: Final = re.compile(r"([?&;]\s*([^=?&;]*)=)([^&;]*)")
_HARMLESS: Final = """
    allowpublickeyretrieval applicationname application_name autoreconnect characterencoding charset
    clientcertificatekeystoreurl command_timeout connecttimeout connect_timeout createdatabaseifnotexist
    load_balance_hosts loadbalancehosts roundrobinloadbalance target_session_attrs
    currentschema db_close_delay db_close_on_exit disablesslhostnameverification keystore localsocket
    lock_timeout logintimeout mode mvcc program_name read_timeout requiressl rewritebatchedstatements
    serversslcert servertimezone sockettimeout ssl sslcert sslfactory sslkey sslmode sslrootcert ssl_ca ssl_cert
    ssl_check_hostname ssl_key targetservertype timeout trustcertificatekeystoreurl truststore
    trustservercertificate unix_socket user useserverprepstmts usessl useunicode verifyservercertificate
"""
SHOWN: Final = frozenset(_HARMLESS.split())
"""Parameters of a URL, in small letters, whose values cannot be a secret."""


def mask(text: str) -> str:
    """Return `text`; if it is or has a URL, with passwords and the values of unknown parameters masked."""
    if not _URL.search(text):
        return text
    if foreign := _FOREIGN.search(text):
        return f"{text[: foreign.end()]}{MASK}"
    text = _UP_TO_PARENTHESIS.sub(_shown_addresses, text)
    text = _LATER_CREDENTIALS.sub(rf"\1:{MASK}@", _CREDENTIALS.sub(rf"\1:{MASK}@", text))
    return _PARAMETER.sub(_shown, text)


def mask_all(url: str) -> str:
    """Return of a URL that nobody understands no more than its kind, `jdbc:oracle:********`."""
    kind = _KIND.match(url)
    return f"{kind[0]}{MASK}" if kind else MASK if url else ""


def _shown_addresses(addresses: re.Match[str]) -> str:
    """Return addresses such as `(host=db1,port=3306)`, unless there is more in them."""
    names = {name.lower() for name in _PAIR.findall(addresses[0])}
    return addresses[0] if names <= _OF_ADDRESS else f"//{MASK}"


def _shown(parameter: re.Match[str]) -> str:
    beginning, name, value = parameter.groups()
    return parameter[0] if name.lower() in SHOWN or not value else f"{beginning}{MASK}"
