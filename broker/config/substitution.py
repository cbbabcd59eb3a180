"""Replaces placeholders and references to secrets in the texts of configuration files.

It reads the files that `file:` names. Its errors do not say where the text stands; the caller adds that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_PLACEHOLDER = re.compile(r"\$\{([^}]*)\}")
_NOT_IN_A_VARIABLE = re.compile(r"[^A-Za-z0-9]")
_KNOWN: Final = "${env:NAME}, ${sys:NAME} and ${carbon.home}"
_MAX_SECRET_BYTES = 65_536


def substitute(text: str, environ: Mapping[str, str], *, is_secret: bool = False) -> str:
    """Replace every placeholder; placeholders inside the value of a variable are not replaced.

    Raises ValueError, which shows nothing of a secret.
    """
    if "${" not in text:
        return text
    return _PLACEHOLDER.sub(lambda match: _value_of(match[1], environ, is_secret), text)


def _value_of(name: str, environ: Mapping[str, str], is_secret: bool) -> str:
    kind, _, key = name.partition(":")
    if name == "carbon.home":
        candidates = ["CARBON_HOME"]
    elif kind == "env" and key:
        candidates = [key]
    elif kind == "sys" and key:
        # Instead of a Java system property: the environment variable of that name, or of its usual spelling in a shell.
        candidates = [key, _NOT_IN_A_VARIABLE.sub("_", key).upper()]
    elif is_secret:
        raise ValueError(
            f"a secret with '${{' in it has an unknown placeholder; known are {_KNOWN}, and a file: is taken as it is"
        )
    else:
        raise ValueError(f"unknown placeholder '${{{name}}}'; known are {_KNOWN}")
    for candidate in candidates:
        if candidate in environ:
            return environ[candidate]
    raise ValueError(f"environment variable '{candidates[-1]}', which '${{{name}}}' asks for, is not set")


def secret_variable(alias: str) -> str:
    """Return the environment variable that stands in for WSO2's secure vault: `A.b` -> `BROKER_SECRET_A_B`."""
    return "BROKER_SECRET_" + _NOT_IN_A_VARIABLE.sub("_", alias).upper()


def secret_from_file(url: str, folder: Path) -> tuple[str, str | None]:
    """Return the secret in the file that `file:path` names, and a warning when everybody can read it.

    A relative path starts at `folder`. Raises ValueError.
    """
    path = folder / re.sub(r"^file:(//(?=/))?", "", url)
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_SECRET_BYTES + 1)
        readable_by_all = open_to_all(path)
    except OSError as error:
        raise ValueError(f"secret file '{path}' cannot be read: {error.strerror}") from error
    if len(content) > _MAX_SECRET_BYTES:
        raise ValueError(f"secret file '{path}' is larger than {_MAX_SECRET_BYTES} bytes")
    try:
        text = content.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"secret file '{path}' is not UTF-8 text") from error
    return text, f"secret file '{path}' is readable by every user" if readable_by_all else None


def open_to_all(path: Path) -> bool:
    """Return whether every user may read a file. Raises OSError."""
    return bool(path.stat().st_mode & 0o004)
