"""The secrets that WSO2's ciphertool has put away: what an alias in a configuration file stands for.

An alias is the attribute `svns:secretAlias` of an element, or its text `secretAlias:…` or `$secret{…}`. The secret is
in an environment variable, or in `cipher-text.properties`: in square brackets as it is, before ciphertool was there, or
encrypted with the key that `secret-conf.properties` names, as `FileBaseSecretRepository` of WSO2's secure vault reads
it. The password of that key store is where `DefaultSecretCallbackHandler` of WSO2's carbon-kernel looks for it. Files
are read when the first alias needs them, and none is written (ADR 61).
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from broker.config import properties
from broker.config.home import found_in_home, home_of
from broker.config.substitution import open_to_all, secret_variable
from broker.config.xml_reader import read_bytes
from broker.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

_ALIAS_IN_TEXT: Final = re.compile(r"secretAlias:(?P<after>.+)|\$secret\{(?P<between>[^}]+)\}")
_CIPHER_TEXT: Final = "cipher-text.properties"
_SECRET_CONF: Final = "secret-conf.properties"
_REPOSITORIES: Final = "secretRepositories"
_LOCATION: Final = "secretRepositories.file.location"
_ALGORITHM: Final = "secretRepositories.file.algorithm"
_STORE: Final = "keystore.identity.location"
_KEY: Final = "keystore.identity.alias"
_PASSWORD: Final = "keystore.identity.store.password"
_PASSWORD_OF: Final = "keystore.identity.store.secretProvider"
_STORE_VARIABLE: Final = secret_variable("identity.store.password")
_KEY_VARIABLE: Final = secret_variable("identity.key.password")
_PASSWORD_FILES: Final = ("password", "password-tmp", "password-persist")
_DELETED_BY_WSO2: Final = ("password", "password-tmp")


def alias_in(text: str) -> str | None:
    """Return the alias that a text consists of, if it does."""
    match = _ALIAS_IN_TEXT.fullmatch(text)
    return (match["after"] or match["between"]).strip() if match else None


@dataclass
class SecureVault:
    """The secrets of one configuration folder."""

    folder: Path
    environ: Mapping[str, str]
    files: list[Path] = field(default_factory=list)
    """The files that were read."""
    warnings: list[str] = field(default_factory=list)
    """What is to be said about them, each once."""

    def secret(self, alias: str) -> str:
        """Return the secret of an alias. Raises ValueError that says what to do."""
        variable = secret_variable(alias)
        if variable in self.environ:
            return self.environ[variable]
        path, entries = self._cipher_texts
        if alias not in entries:
            where = f"or in '{path}'" if path else f"or in security/{_CIPHER_TEXT}"
            raise ValueError(f"the secret of alias '{alias}' is expected in environment variable '{variable}', {where}")
        text = entries[alias].strip()
        if text.startswith("[") and text.endswith("]"):
            return text[1:-1]
        try:
            return self._decrypted(text)
        except ValueError as error:
            raise ValueError(
                f"the secret of alias '{alias}' in '{path}': {error}; or set environment variable '{variable}'"
            ) from error

    def _decrypted(self, text: str) -> str:
        try:
            octets = b64decode(text, validate=True)
        except binascii.Error as error:
            raise ValueError("neither [plain text] in brackets nor what ciphertool writes") from error
        from broker.config.vault_cipher import decrypted  # loads OpenSSL

        try:
            return decrypted(octets, self._key).decode()
        except UnicodeDecodeError as error:
            raise ValueError("what was encrypted is no text") from error

    @cached_property
    def _cipher_texts(self) -> tuple[Path | None, dict[str, str]]:
        named = self._found(self._settings.get(_LOCATION, _CIPHER_TEXT))
        path = named if named.is_file() else self._beside(_CIPHER_TEXT)
        if path is None:
            return None, {}
        entries = self._read(path)
        if any(value.strip().startswith("[") for value in entries.values()) and open_to_all(path):
            self.warnings.append(f"'{path}' has secrets in clear and is readable by every user")
        return path, entries

    @cached_property
    def _settings(self) -> dict[str, str]:
        path = self._beside(_SECRET_CONF)
        return self._read(path) if path else {}

    @cached_property
    def _key(self) -> RSAPrivateKey:
        from broker.config.vault_cipher import rsa_key

        settings = self._settings
        if not settings.get(_STORE):
            raise ValueError(
                f"it is encrypted, and security/{_SECRET_CONF}, which ciphertool writes, does not say with which key"
                f" ({_STORE})"
            )
        repositories = settings.get(_REPOSITORIES, "file").strip()
        algorithm = settings.get(_ALGORITHM, "RSA").strip()
        if repositories != "file" or not algorithm.upper().startswith("RSA"):
            raise ValueError(
                f"repository '{repositories}' with algorithm '{algorithm}' of {_SECRET_CONF} is not served; 'file' with"
                " 'RSA' is"
            )
        location = self._found(settings[_STORE])
        passwords = self._passwords(location)
        try:
            return rsa_key(location, settings.get(_KEY, "").strip(), *passwords)
        except ValueError as error:
            raise ValueError(f"key store '{location}': {error}") from error

    def _passwords(self, location: Path) -> tuple[str, str]:
        """Return the passwords of the key store and of its key."""
        store = self.environ.get(_STORE_VARIABLE, "")
        key = self.environ.get(_KEY_VARIABLE, "")
        if not store and not self._settings.get(_PASSWORD_OF):
            store = self._settings.get(_PASSWORD, "")
        if not store:
            store, second = self._passwords_in_file()
            key = key or second
        if not store:
            raise ValueError(
                f"it is encrypted, and the password of key store '{location}' is not known: set environment variable"
                f" '{_STORE_VARIABLE}', or write it into file '{self._in_home(_PASSWORD_FILES[-1])}'"
            )
        return store, key or store

    def _passwords_in_file(self) -> tuple[str, str]:
        for name in _PASSWORD_FILES:
            path = self._in_home(name)
            if not path.is_file():
                continue
            try:
                lines = [*path.read_text().splitlines(), "", ""]
            except (OSError, UnicodeDecodeError) as error:
                raise ValueError(f"file '{path}' cannot be read: {error}") from error
            self.files.append(path)
            if open_to_all(path):
                self.warnings.append(f"secret file '{path}' is readable by every user")
            if name in _DELETED_BY_WSO2:
                self.warnings.append(
                    f"'{path}' is left where it is, to be read again; WSO2's server deletes it. Remove it, or call it"
                    f" {_PASSWORD_FILES[-1]}"
                )
            return lines[0], lines[1]
        return "", ""

    def _read(self, path: Path) -> dict[str, str]:
        try:
            entries = properties.parse(read_bytes(path, str(path)), str(path))
        except ConfigError as error:
            raise ValueError(str(error)) from error
        self.files.append(path)
        return {entry.key: entry.value for entry in entries}

    def _beside(self, name: str) -> Path | None:
        """Return where a file lies in the folder of the configuration, as in WSO2's server or directly."""
        return next((path for path in (self.folder / "security" / name, self.folder / name) if path.is_file()), None)

    def _found(self, location: str) -> Path:
        return Path(found_in_home(location.strip(), self.folder, self.environ))

    def _in_home(self, name: str) -> Path:
        return home_of(self.folder, self.environ) / name
