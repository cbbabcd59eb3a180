"""AMQP methods as classes, and the codec compiled from their annotations (ADR 4).

`@method(60, 40)` turns an annotated class into a frozen dataclass with slots. Its encoder and decoder are generated for
its fields once, at import, from the layout of arguments on the wire (0-9-1 §4.2.4, §4.2.5). The methods themselves
are in `methods`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, fields
from itertools import groupby
from typing import Annotated, Any, ClassVar, Final, Self, TypeAlias, TypeVar, dataclass_transform, get_type_hints

from broker.codec.constants import FRAME_END, FRAME_METHOD
from broker.codec.field_table import FieldTable
from broker.errors import NotImplementedFault, SyntaxFault

# The annotations of a method's fields: a Python type with its format code of `struct`, or a kind where there is none.
Octet: TypeAlias = Annotated[int, "B"]
Short: TypeAlias = Annotated[int, "H"]
Long: TypeAlias = Annotated[int, "I"]
LongLong: TypeAlias = Annotated[int, "Q"]
ShortStr: TypeAlias = Annotated[str, "shortstr"]
LongStr: TypeAlias = Annotated[bytes, "longstr"]
Bit: TypeAlias = Annotated[bool, "bit"]
Table: TypeAlias = Annotated[FieldTable, "table"]


class Method:
    """One method of the protocol with its arguments.

    `ids` are class and method id, `index` both as one number, `name` is the protocol's (`basic.recover-async`).
    """

    __slots__ = ()

    ids: ClassVar[tuple[int, int]]
    index: ClassVar[int]
    name: ClassVar[str]
    has_content: ClassVar[bool] = False

    def encode(self) -> bytes:
        """Return the payload of the method's frame. Raises ValueError when an argument does not fit its field."""
        raise NotImplementedError

    @classmethod
    def decode_arguments(cls, data: bytes, offset: int, end: int) -> Self:
        """Read the arguments that fill `data[offset:end]`, tables included, or raise SyntaxFault."""
        raise NotImplementedError


METHODS: Final[dict[int, type[Method]]] = {}

_M = TypeVar("_M", bound=Method)
_ids = struct.Struct(">I").unpack_from
_frame = struct.Struct(">BHI").pack


def decode(payload: bytes) -> Method:
    """Decode the payload of a method frame. Raises SyntaxFault when malformed, NotImplementedFault when unknown."""
    return kind_of(payload).decode_arguments(payload, 4, len(payload))


def kind_of(payload: bytes) -> type[Method]:
    """Return the class of the method in the payload of a method frame. Raises as `decode` does."""
    try:
        (index,) = _ids(payload)
    except struct.error:
        raise SyntaxFault(f"method frame of {len(payload)} octets has no room for class and method id") from None
    kind = METHODS.get(index)
    if kind is None:
        # contract C21
        raise NotImplementedFault(f"unknown method {index >> 16},{index & 0xFFFF}")
    return kind


def frame(channel: int, payload: bytes) -> bytes:
    """Wrap the payload of a method into its frame."""
    return _frame(FRAME_METHOD, channel, len(payload)) + payload + FRAME_END


@dataclass_transform(frozen_default=True)
def method(class_id: int, method_id: int) -> Callable[[type[_M]], type[_M]]:
    """Make the decorated class the method `class_id`, `method_id`: a frozen dataclass, compiled and registered."""

    def decorate(annotated: type[_M]) -> type[_M]:
        cls = dataclass(frozen=True, slots=True)(annotated)
        words = re.findall("[A-Z][a-z]*", cls.__name__)
        cls.ids = (class_id, method_id)
        cls.index = class_id << 16 | method_id
        cls.name = f"{words[0]}.{'-'.join(words[1:])}".lower()
        arguments = _arguments(cls)
        cls.encode = _compile_encoder(cls, arguments)  # type: ignore[method-assign, assignment]
        cls.decode_arguments = staticmethod(_compile_decoder(cls, arguments))  # type: ignore[assignment]
        METHODS[cls.index] = cls
        return cls

    return decorate


def _arguments(cls: type[Method]) -> list[tuple[str, list[str]]]:
    """Return (kind, field names) in the order of the wire: one name each, but adjacent bits share an octet."""
    hints = get_type_hints(cls, include_extras=True)
    kinds = [(field.name, hints[field.name].__metadata__[0]) for field in fields(cls)]  # type: ignore[arg-type]
    arguments: list[tuple[str, list[str]]] = []
    for kind, group in groupby(kinds, key=lambda pair: pair[1]):
        names = [name for name, _ in group]
        arguments += [(kind, names)] if kind == "bit" else [(kind, [name]) for name in names]
    return arguments


class _Runs:
    """Collects adjacent fixed-size items into runs with one `struct` call each: a call costs more than the bytes."""

    def __init__(self, attribute: str) -> None:
        self.attribute = attribute
        self.namespace: dict[str, Any] = {}
        self.codes = ""
        self.operands: list[str] = []

    def add(self, code: str, operand: str) -> None:
        self.codes += code
        self.operands.append(operand)

    def take(self) -> tuple[str, list[str], int]:
        """Return the name of the `struct` function for the run so far, its operands and its size; start a new run."""
        layout = struct.Struct(">" + self.codes)
        name, operands = f"run_{self.codes}", self.operands
        self.namespace[name] = getattr(layout, self.attribute)
        self.codes, self.operands = "", []
        return name, operands, layout.size


def _compile_encoder(cls: type[Method], arguments: list[tuple[str, list[str]]]) -> Callable[[Any], bytes]:
    runs = _Runs("pack")
    runs.add("I", str(cls.index))
    lines: list[str] = []
    parts: list[str] = []

    def flush() -> None:
        if runs.codes:
            name, operands, _ = runs.take()
            parts.append(f"{name}({', '.join(operands)})")

    for kind, names in arguments:
        field = names[0]
        if kind == "bit":
            runs.add("B", " | ".join(f"self.{name} << {position}" for position, name in enumerate(names)))
        elif kind in _VARIABLE:
            suffix, size_code = _VARIABLE[kind]
            lines.append(f"{field} = self.{field}{suffix}")
            runs.add(size_code, f"len({field})")
            flush()
            parts.append(field)
        else:
            runs.add(kind, f"self.{field}")
    flush()
    lines.append(f"return {parts[0]}" if len(parts) == 1 else f"return b''.join(({', '.join(parts)}))")
    source = [
        "def encode(self):",
        " try:",
        *_indented(2, lines),
        " except struct_error as error:",
        "  raise misfit(error)",
    ]
    namespace = {"struct_error": struct.error, "misfit": lambda error: ValueError(f"{cls.name}: {error}")}
    return _define(cls, source, runs.namespace | namespace)


def _compile_decoder(cls: type[Method], arguments: list[tuple[str, list[str]]]) -> Callable[[bytes, int, int], Any]:
    runs = _Runs("unpack_from")
    lines: list[str] = []

    def flush() -> None:
        if runs.codes == "B":
            # For one octet, indexing is faster than `struct`.
            lines.extend([f"{runs.take()[1][0]} = data[offset]", "offset += 1"])
        elif runs.codes:
            name, operands, size = runs.take()
            lines.extend([f"{', '.join(operands)}, = {name}(data, offset)", f"offset += {size}"])

    values: list[str] = []
    for position, (kind, names) in enumerate(arguments):
        field = names[0]
        if kind == "bit":
            runs.add("B", f"bits_{position}")
            values += [f"bits_{position} & {1 << bit} != 0" for bit in range(len(names))]
            continue
        values.append(field)
        if kind in _VARIABLE:
            runs.add(_VARIABLE[kind][1], "size")
            flush()
            lines += ["start = offset", "offset += size", *_reading(kind, field)]
        else:
            runs.add(kind, field)
    flush()
    source = ["def decode_arguments(data, offset, end):"]
    if lines:
        source += [
            " try:",
            *_indented(2, lines),
            " except (IndexError, struct_error):",
            "  raise ends_early() from None",
        ]
    # A read may go beyond `end` within the buffer; this check discards what it found there.
    source += [" if offset != end: raise wrong_end(offset, end)", f" return cls({', '.join(values)})"]
    return _define(cls, source, runs.namespace | _decoder_names(cls))


# For each kind of variable size: the expression suffix that gives its octets, and the format code of its length.
_VARIABLE: Final = {"shortstr": (".encode()", "B"), "longstr": ("", "I"), "table": (".raw", "I")}


def _reading(kind: str, field: str) -> list[str]:
    if kind == "longstr":
        return [f"{field} = data[start:offset]"]
    if kind == "table":
        return [f"{field} = FieldTable(data[start:offset]).validate()"]
    attempt, failure = f" {field} = str(data[start:offset], 'utf-8')", f" raise not_utf8({field!r}) from None"
    return ["try:", attempt, "except UnicodeDecodeError:", failure]


def _decoder_names(cls: type[Method]) -> dict[str, Any]:
    def ends_early() -> SyntaxFault:
        return SyntaxFault(f"{cls.name}: the frame ends inside the arguments")

    def wrong_end(offset: int, end: int) -> SyntaxFault:
        return ends_early() if offset > end else SyntaxFault(f"{cls.name}: {end - offset} octets after the arguments")

    def not_utf8(field: str) -> SyntaxFault:
        return SyntaxFault(f"{cls.name}: {field} is not UTF-8")

    return {
        "cls": cls,
        "FieldTable": FieldTable,
        "struct_error": struct.error,
        "ends_early": ends_early,
        "wrong_end": wrong_end,
        "not_utf8": not_utf8,
    }


def _indented(depth: int, lines: list[str]) -> list[str]:
    return [" " * depth + line for line in lines]


def _define(cls: type[Method], source: list[str], namespace: dict[str, Any]) -> Callable[..., Any]:
    """Compile the one function in `source`."""
    exec(compile("\n".join(source), f"<codec of {cls.name}>", "exec"), namespace)
    function: Callable[..., Any] = namespace[source[0][4 : source[0].index("(")]]
    function.__qualname__ = f"{cls.__name__}.{function.__name__}"
    return function
