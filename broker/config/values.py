"""The types of configuration values: which texts are valid, and the error message for an invalid one.

The messages name neither file nor element: the caller adds them.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, NoReturn

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic_core import PydanticCustomError

from broker.machine.address import EVERY_ADDRESS, bare_host

INT_MAX = 2_147_483_647

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_SQL_STATE_CLASS = re.compile(r"[0-9A-Z]{2}", re.ASCII)
_HOST_RANGE = re.compile(r"((?:\d{1,3}\.){3}(\d{1,3}))-(\d{1,3})", re.ASCII)
_HOST_AND_PORT = re.compile(r"([^:]+|\[.*\]):\d*", re.ASCII)
_NUMBERS_ONLY = re.compile(r"[\d-]*\.[\d.-]*", re.ASCII)
_TLS_VERSIONS = ("SSLv2Hello", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_ANDES_STORE = "org.wso2.andes.store.rdbms.RDBMSMessageStoreImpl"


class Section(BaseModel):
    """One element of a configuration file; every object of the broker gets only the section it needs."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    # Maps the old name of an element to its new one. Both work; the old one causes a warning.
    renamed: ClassVar[Mapping[str, str]] = {}
    # True if the element also configures parts of WSO2's platform that this broker does not have. Then an unknown
    # element causes a warning only when its name resembles a known one.
    has_foreign_content: ClassVar[bool] = False
    # Maps an element that documentation shows without its parents to the element it belongs in (andes §1.2).
    found_anywhere: ClassVar[Mapping[str, str]] = {}


def xml(name: str, default: Any, *, in_repr: bool = True) -> Any:
    """Declare a field read from `name`: `element`, `@attribute`, `element[name attribute]`, or `element[*]` for all.

    `in_repr=False` keeps a text that may contain a password out of `repr`.
    """
    return Field(default, validation_alias=name, repr=in_repr)


def conflict(element: str, text: str) -> NoReturn:
    """Raise a validator's error for a combination of values; `element`, relative to this section, is what to change."""
    raise PydanticCustomError("conflict", "{text}", {"text": text, "element": element})


class Verbatim:
    """Marks a value whose `${...}` are not replaced, because they are meant for other software."""


VERBATIM = Verbatim()


class MayBeInFile:
    """Marks a value that may be `file:path`, which means the content of that file. Every password may."""


MAY_BE_IN_FILE = MayBeInFile()


class InHome:
    """Marks the path of a file that may lie in the home folder of WSO2's server; see `home.found_in_home`."""


IN_HOME = InHome()


class Unresolved:
    """Marks a text that stands for `value` when it has a placeholder that nothing resolves."""

    def __init__(self, value: str) -> None:
        self.value = value


def integer(low: int, high: int = INT_MAX) -> BeforeValidator:
    def read(value: object) -> int:
        text = str(value)
        if not _INTEGER.fullmatch(text) or not low <= int(text) <= high:
            raise ValueError(f"'{text}' is not an integer between {low} and {high}")
        return int(text)

    return BeforeValidator(read)


def number(low: float, high: float) -> BeforeValidator:
    def read(value: object) -> float:
        try:
            result = float(str(value))
        except ValueError:
            result = math.nan
        if not low <= result <= high:
            raise ValueError(f"'{value}' is not a number between {low:g} and {high:g}")
        return result

    return BeforeValidator(read)


def one_of(*choices: str) -> BeforeValidator:
    """Accept one of `choices` in any case, as Andes does."""
    by_name = {choice.lower(): choice for choice in choices}

    def read(value: object) -> str:
        if str(value).lower() not in by_name:
            raise ValueError(f"'{value}' is not one of {', '.join(choices)}")
        return by_name[str(value).lower()]

    return BeforeValidator(read)


def choice(*choices: str) -> Any:
    """Return the type of a text that is one of `choices` in any case."""
    return Annotated[str, one_of(*choices)]


def _boolean(value: object) -> bool:
    text = str(value).lower()
    if text not in ("true", "false"):
        raise ValueError(f"'{value}' is not true or false")
    return text == "true"


def _power_of_two(value: object) -> int:
    text = str(value)
    if not _INTEGER.fullmatch(text) or int(text) < 1 or int(text) & (int(text) - 1) or int(text) > INT_MAX:
        raise ValueError(f"'{text}' is not a power of two between 1 and {INT_MAX}")
    return int(text)


def _comma_list(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _sql_state_classes(value: object) -> object:
    classes = _comma_list(value)
    for sql_state_class in classes if isinstance(classes, tuple) else ():
        if not _SQL_STATE_CLASS.fullmatch(sql_state_class):
            raise ValueError(f"'{sql_state_class}' is not a SQLState class of two digits or capital letters")
    return classes


def _name(value: object) -> str:
    if not str(value) or any(character.isspace() for character in str(value)):
        raise ValueError(f"'{value}' is not a name without blanks")
    return str(value)


def address(value: object) -> str:
    """Return a host as the system takes it, `*` as every address. Raises ValueError."""
    return EVERY_ADDRESS if value == "*" else bare_host(str(value))


def _host_range(value: object) -> str:
    text = str(value)
    if not text or any(character.isspace() for character in text):
        raise ValueError(f"'{text}' is not a host name, an address or a range such as 192.168.1.2-10")
    if "," in text:
        raise ValueError(f"'{text}' is more than one host; each needs a member element of its own")
    if text in ("*", EVERY_ADDRESS, "[::]", "0.0.0.0"):
        raise ValueError(f"'{text}' is every address of a machine; name one that the other nodes reach")
    if (match := _HOST_AND_PORT.fullmatch(text)) is not None:
        raise ValueError(f"'{text}' has a port, which belongs in the element port; the host is '{match[1]}'")
    if (match := _HOST_RANGE.fullmatch(text)) is not None and _is_ipv4(match[1]):
        if not int(match[2]) <= int(match[3]) <= 255:
            raise ValueError(f"'{text}' is not an ascending range of addresses")
        return text
    if _NUMBERS_ONLY.fullmatch(text) and not _is_ipv4(text):
        raise ValueError(
            f"'{text}' is neither an IPv4 address, four numbers from 0 to 255, nor a range in the last of them, such as"
            " 192.168.1.2-10"
        )
    return bare_host(text)


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def told_name(most_octets: int) -> BeforeValidator:
    """Accept a name that the other nodes can read."""

    def read(value: object) -> str:
        text = _name(value)
        octets = len(text.encode(errors="replace"))
        if octets > most_octets or not text.isprintable():
            raise ValueError(
                f"'{text:.32}' has {octets} octets; a name that the other nodes can read has at most {most_octets},"
                " all of them printable"
            )
        return text

    return BeforeValidator(read)


def _store_class(value: object) -> str:
    if ".rdbms." not in str(value):
        raise ValueError(f"'{value}' is not a store of this broker; use {_ANDES_STORE} or its context twin")
    return str(value)


def _tls_versions(value: object) -> tuple[str, ...]:
    given = value.split(",") if isinstance(value, str) else list(value) if isinstance(value, tuple) else []
    by_name = {version.lower(): version for version in _TLS_VERSIONS}
    for version in given:
        if version.strip().lower() not in by_name:
            raise ValueError(f"'{version.strip()}' is not one of {', '.join(_TLS_VERSIONS)}")
    return tuple(by_name[version.strip().lower()] for version in given)


Port = Annotated[int, integer(0, 65535)]
OtherPort = Annotated[int, integer(1, 65535)]
Count = Annotated[int, integer(1)]
CountOrZero = Annotated[int, integer(0)]
Amount = Annotated[int, integer(0, 2**63 - 1)]
PowerOfTwo = Annotated[int, BeforeValidator(_power_of_two)]
Boolean = Annotated[bool, BeforeValidator(_boolean)]
Names = Annotated[tuple[str, ...], BeforeValidator(_comma_list)]
SqlStateClasses = Annotated[tuple[str, ...], BeforeValidator(_sql_state_classes)]
Name = Annotated[str, BeforeValidator(_name)]
Address = Annotated[str, BeforeValidator(address)]
SecretText = Annotated[str, MAY_BE_IN_FILE]
HostRange = Annotated[str, BeforeValidator(_host_range)]
Domain = Annotated[str, told_name(120)]
NodeId = Annotated[str, told_name(255)]
StoreClass = Annotated[str, BeforeValidator(_store_class)]
TlsVersions = Annotated[tuple[str, ...], BeforeValidator(_tls_versions)]
TextMap = Mapping[str, str]
VerbatimText = Annotated[str, VERBATIM]
VerbatimMap = Annotated[Mapping[str, str], VERBATIM]
NO_SECRET = SecretStr("")
