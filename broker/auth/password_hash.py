"""Password hashes as text: one form for each kind, which is read, verified and made here.

| Text | What it is |
|---|---|
| `$argon2id$v=19$m=…,t=…,p=…$salt$digest` | Argon2id in PHC's form: what new passwords get |
| `$rabbit_password_hashing_sha256$…`, `_sha512`, `_md5` | RabbitMQ's `password_hash`, behind its algorithm |
| `$wso2$SHA-256$salt$value` | `UM_SALT_VALUE` and `UM_USER_PASSWORD` of WSO2's tables, behind their `PasswordDigest` |
| `$public$guest` | a password that everybody knows: there is nothing to hide, and nothing to guess |
| `$generated$$argon2id$…` | an Argon2id hash of a password that a node made up at the first start |
| `$none$` | no password is right |

A text of another form is an error, never a password that is merely wrong. Passwords of clients are checked by
`Passwords`, which hashes beside the loop.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol
from urllib.parse import quote, unquote

from argon2.exceptions import VerifyMismatchError
from argon2.low_level import Type, hash_secret, verify_secret

from broker.errors import InvalidPasswordHash

MEMORY_KIB: Final = 19_456
PASSES: Final = 2
LANES: Final = 1
SALT_OCTETS: Final = 16
"""What a new Argon2id hash costs: the least that OWASP's Password Storage Cheat Sheet recommends (ADR 49)."""

_DIGEST_OCTETS: Final = 32
_MOST: Final = (262_144, 16, 16)
"""Memory in KiB, passes and lanes that a hash from elsewhere may demand of this machine at every login."""
_ARGON2ID: Final = re.compile(
    r"\$argon2id\$v=19\$m=([1-9]\d{0,9}),t=([1-9]\d{0,9}),p=([1-9]\d{0,9})\$([^$]{11,171})\$([^$]{22,171})", re.ASCII
)

RABBITMQ_SALT_OCTETS: Final = 4
RABBITMQ_ALGORITHMS: Final = {
    "rabbit_password_hashing_sha256": "sha256",
    "rabbit_password_hashing_sha512": "sha512",
    "rabbit_password_hashing_md5": "md5",
}
NO_PASSWORD: Final = "$none$"
GENERATED: Final = "$generated$"
"""How the text of a password begins that was generated."""
PLAIN_TEXT: Final = "PLAIN_TEXT"
WSO2_DIGESTS: Final = {
    "SHA-256": "sha256",
    "SHA-512": "sha512",
    "SHA-384": "sha384",
    "SHA-224": "sha224",
    "SHA-1": "sha1",
    "SHA1": "sha1",
    "SHA": "sha1",
    "MD5": "md5",
}
"""Java's names of digests, and Python's."""


class PasswordHash(Protocol):
    """What is stored in the place of a password."""

    @property
    def text(self) -> str:
        """How it is stored. `parse` reads it."""
        ...

    @property
    def is_costly(self) -> bool:
        """Does `verify` itself cost an attacker much, and us?"""
        ...

    @property
    def needs_renewal(self) -> bool:
        """Should the password get a new hash, when it is known again?"""
        ...

    def verify(self, password: str) -> bool:
        """Is this the password? The time it takes does not depend on how wrong it is."""
        ...


@dataclass(frozen=True, slots=True)
class Argon2id:
    """Argon2id (RFC 9106) in PHC's form, with what it costs."""

    text: str
    memory_kib: int
    passes: int
    is_costly: ClassVar[bool] = True

    @property
    def needs_renewal(self) -> bool:
        """Is it weaker than a new one?"""
        return self.memory_kib < MEMORY_KIB or self.passes < PASSES

    def verify(self, password: str) -> bool:
        """Is this the password? It takes tens of milliseconds, in which other threads run."""
        try:
            return bool(verify_secret(self.text.encode(), password.encode(), Type.ID))
        except VerifyMismatchError:
            return False


@dataclass(frozen=True, slots=True)
class RabbitMq:
    """RabbitMQ's: a salt of four octets before the password, one round."""

    algorithm: str
    salt: bytes
    digest: bytes
    is_costly: ClassVar[bool] = False
    needs_renewal: ClassVar[bool] = True

    @property
    def value(self) -> str:
        """RabbitMQ's `password_hash`."""
        return base64.b64encode(self.salt + self.digest).decode()

    @property
    def text(self) -> str:
        return f"${self.algorithm}${self.value}"

    def verify(self, password: str) -> bool:
        return hmac.compare_digest(self.digest, _rabbitmq_digest(password, self.algorithm, self.salt))


@dataclass(frozen=True, slots=True)
class Wso2:
    """WSO2's: the text of the salt behind the password, one round, in Base64; or both in clear."""

    password_digest: str
    salt: str
    value: str
    """`UM_USER_PASSWORD`."""
    is_costly: ClassVar[bool] = False
    needs_renewal: ClassVar[bool] = True

    @property
    def text(self) -> str:
        return f"$wso2${self.password_digest}${_quoted(self.salt)}${_quoted(self.value)}"

    def verify(self, password: str) -> bool:
        return hmac.compare_digest(self.value.encode(), _wso2_value(password, self.password_digest, self.salt).encode())


@dataclass(frozen=True, slots=True)
class Public:
    """A password that everybody knows."""

    password: str
    is_costly: ClassVar[bool] = False
    needs_renewal: ClassVar[bool] = False

    @property
    def text(self) -> str:
        return f"$public${self.password}"

    def verify(self, password: str) -> bool:
        return hmac.compare_digest(self.password.encode(), password.encode())


@dataclass(frozen=True, slots=True)
class Generated:
    """A password that a node generated, with so much chance in it that its hash needs no renewal."""

    argon2id: Argon2id
    is_costly: ClassVar[bool] = True
    needs_renewal: ClassVar[bool] = False

    @property
    def text(self) -> str:
        return f"{GENERATED}{self.argon2id.text}"

    def verify(self, password: str) -> bool:
        return self.argon2id.verify(password)


@dataclass(frozen=True, slots=True)
class NoPassword:
    """No password is right."""

    text: ClassVar[str] = NO_PASSWORD
    is_costly: ClassVar[bool] = False
    needs_renewal: ClassVar[bool] = False

    def verify(self, password: str) -> bool:
        return False


# Making


def new_argon2id(password: str, salt: bytes) -> Argon2id:
    """Hash a new password. `salt` is `SALT_OCTETS` of chance. It takes as long as verifying one."""
    octets = hash_secret(password.encode(), salt, PASSES, MEMORY_KIB, LANES, _DIGEST_OCTETS, Type.ID)
    return Argon2id(octets.decode(), MEMORY_KIB, PASSES)


def new_rabbitmq(password: str, algorithm: str, salt: bytes) -> RabbitMq:
    """Hash a password as RabbitMQ does. `salt` is `RABBITMQ_SALT_OCTETS` of chance."""
    _require(algorithm, RABBITMQ_ALGORITHMS, "hashing_algorithm")
    return RabbitMq(algorithm, salt, _rabbitmq_digest(password, algorithm, salt))


def new_wso2(password: str, password_digest: str, salt: str = "") -> Wso2:
    """Hash a password as WSO2's user store does. `salt` is Base64 of 16 octets of chance, or empty for none."""
    _require(password_digest, (*WSO2_DIGESTS, PLAIN_TEXT), "PasswordDigest")
    return Wso2(password_digest, salt, _wso2_value(password, password_digest, salt))


# Reading


def parse(text: str) -> PasswordHash:
    """Return the hash that a stored text is. Raises `InvalidPasswordHash` for any other text."""
    kind, _, rest = text[1:].partition("$")
    reader = _READERS.get(kind) if text.startswith("$") else None
    if reader is not None:
        return reader(rest)
    shown = re.match(r"\$[\w-]{1,40}\$", text, re.ASCII)
    known = ", ".join(f"${name}$" for name in _READERS)
    raise InvalidPasswordHash(
        f"a password hash of an unknown form{f', {shown[0]}…' if shown else ''}: known ones begin with {known}"
    )


def rabbitmq(password_hash: str, hashing_algorithm: str) -> PasswordHash:
    """Return what RabbitMQ stores of a user; an empty `password_hash` means that no password is right.

    Raises `InvalidPasswordHash`.
    """
    if not password_hash:
        return NoPassword()
    name = _require(hashing_algorithm, RABBITMQ_ALGORITHMS, "hashing_algorithm")
    octets = _octets(password_hash, "RabbitMQ's password_hash")
    if len(octets) != RABBITMQ_SALT_OCTETS + hashlib.new(name).digest_size:
        raise InvalidPasswordHash(f"RabbitMQ's password_hash is not {hashing_algorithm} behind a salt of 4 octets")
    return RabbitMq(hashing_algorithm, octets[:RABBITMQ_SALT_OCTETS], octets[RABBITMQ_SALT_OCTETS:])


def wso2(
    um_user_password: str, um_salt_value: str | None, password_digest: str, *, store_salted_password: bool = True
) -> Wso2:
    """Return what WSO2's user store has of a user. Raises `InvalidPasswordHash`.

    The salt is not used unless the store has `StoreSaltedPassword`. `password_digest` is `PLAIN_TEXT` where the
    configuration names none.
    """
    name = _require(password_digest, {**WSO2_DIGESTS, PLAIN_TEXT: ""}, "PasswordDigest")
    if name:
        octets = _octets(um_user_password, "UM_USER_PASSWORD")
        if len(octets) != hashlib.new(name).digest_size:
            raise InvalidPasswordHash(f"UM_USER_PASSWORD is not {password_digest}, which PasswordDigest says it is")
    return Wso2(password_digest, (um_salt_value or "") if store_salted_password else "", um_user_password)


def needs_renewal(text: str) -> bool:
    """Should the password of this hash get a new one, when it is known again? Raises `InvalidPasswordHash`."""
    return parse(text).needs_renewal


def _parse_argon2id(rest: str) -> Argon2id:
    found = _ARGON2ID.fullmatch(f"$argon2id${rest}")
    if found is None:
        raise InvalidPasswordHash("an Argon2id hash is not $argon2id$v=19$m=…,t=…,p=…$salt$digest")
    memory, passes, lanes = map(int, found.group(1, 2, 3))
    if memory < 8 * lanes or any(asked > most for asked, most in zip((memory, passes, lanes), _MOST, strict=True)):
        raise InvalidPasswordHash(
            f"an Argon2id hash asks for m={memory},t={passes},p={lanes}; at most m={_MOST[0]},t={_MOST[1]},p={_MOST[2]}"
            " can be used, and at least m=8 for each lane"
        )
    for part in found.group(4, 5):
        _octets(part + "=" * (-len(part) % 4), "a part of an Argon2id hash")
    return Argon2id(found[0], memory, passes)


def _parse_wso2(rest: str) -> Wso2:
    parts = rest.split("$")
    if len(parts) != 3:
        raise InvalidPasswordHash("a hash of WSO2's is not $wso2$PasswordDigest$salt$value")
    found = wso2(unquote(parts[2]), unquote(parts[1]), parts[0])
    if found.text != f"$wso2${rest}":
        raise InvalidPasswordHash("salt or value of a hash of WSO2's are not written as in a URL")
    return found


def _parser_of_rabbitmq(algorithm: str) -> Callable[[str], PasswordHash]:
    def read(rest: str) -> PasswordHash:
        if not rest:
            raise InvalidPasswordHash(f"a hash of RabbitMQ's is not ${algorithm}$password_hash")
        return rabbitmq(rest, algorithm)

    return read


def _parse_generated(rest: str) -> Generated:
    found = parse(rest) if rest.startswith("$argon2id$") else None
    if not isinstance(found, Argon2id):
        raise InvalidPasswordHash(f"a generated password is not {GENERATED}$argon2id$…")
    return Generated(found)


def _parse_no_password(rest: str) -> NoPassword:
    if rest:
        raise InvalidPasswordHash("'$none$' has something behind it")
    return NoPassword()


_READERS: Final[dict[str, Callable[[str], PasswordHash]]] = {
    "argon2id": _parse_argon2id,
    **{algorithm: _parser_of_rabbitmq(algorithm) for algorithm in RABBITMQ_ALGORITHMS},
    "wso2": _parse_wso2,
    "public": Public,
    "generated": _parse_generated,
    "none": _parse_no_password,
}


def _require(name: str, known: dict[str, str] | tuple[str, ...], what: str) -> str:
    """Return what `name` stands for, or raise that there is no such algorithm."""
    if name not in known:
        raise InvalidPasswordHash(f"{what} '{name}' is unknown: there are {', '.join(known)}")
    return known[name] if isinstance(known, dict) else name


def _octets(text: str, what: str) -> bytes:
    try:
        octets = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        octets = b""
    if base64.b64encode(octets).decode() != text:
        raise InvalidPasswordHash(f"{what} is not Base64")
    return octets


def _quoted(text: str) -> str:
    return quote(text, safe="+/=")


def _rabbitmq_digest(password: str, algorithm: str, salt: bytes) -> bytes:
    return hashlib.new(RABBITMQ_ALGORITHMS[algorithm], salt + password.encode(), usedforsecurity=False).digest()


def _wso2_value(password: str, password_digest: str, salt: str) -> str:
    salted = password + salt
    if password_digest == PLAIN_TEXT:
        return salted
    digest = hashlib.new(WSO2_DIGESTS[password_digest], salted.encode(), usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()
