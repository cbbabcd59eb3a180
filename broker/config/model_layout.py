"""Makes the layout of a file from the fields of its model and the table of accepted elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, TypeGuard, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from broker.config.element_kinds import Accepted, Anything, Element, Obsolete
from broker.config.layout import Entry, Layout
from broker.config.values import InHome, MayBeInFile, Section, Unresolved, Verbatim


def layout_of(model: type[Section], elements: Mapping[str, Element]) -> Layout:
    """Return the layout of a model and the accepted elements beside it, by their path from here."""
    has_foreign_content = model.has_foreign_content
    obsolete: dict[str, str] = {}
    below = _by_first_name(elements)
    entries = [
        _of_field(name, info, below.pop(str(info.validation_alias), {})) for name, info in model.model_fields.items()
    ]
    for name, rest in below.items():
        match rest.get(""):
            case Obsolete(why):
                obsolete[name] = why
            case Anything():
                has_foreign_content = True
            case Accepted() as accepted:
                entries.append(_of_accepted(name, accepted))
            case _:
                is_list = any(path.startswith(f"{name}*/") for path in elements)
                entries.append(Entry("", name, None, below=layout_of(Section, rest), is_list=is_list))
    return Layout(
        entries,
        renamed=model.renamed,
        obsolete=obsolete,
        found_anywhere=model.found_anywhere,
        has_foreign_content=has_foreign_content,
    )


def _by_first_name(elements: Mapping[str, Element]) -> dict[str, dict[str, Element]]:
    """Group elements by the first name of their path, and then by the rest; a `*` that marks repetition is dropped."""
    groups: dict[str, dict[str, Element]] = {}
    for path, element in elements.items():
        name, _, rest = path.partition("/")
        groups.setdefault(name if name == "*" else name.removesuffix("*"), {})[rest] = element
    return groups


def _of_field(name: str, info: FieldInfo, elements: Mapping[str, Element]) -> Entry:
    alias, annotation = str(info.validation_alias), info.annotation
    is_list = get_origin(annotation) is tuple and _is_section(get_args(annotation)[0])
    model = get_args(annotation)[0] if is_list else annotation
    if _is_section(model):
        return Entry(name, alias, info.get_default(), below=layout_of(model, elements), is_list=is_list)
    return _leaf(Entry(name, alias, info.get_default()), annotation, info.metadata)


def _of_accepted(alias: str, accepted: Accepted) -> Entry:
    kind, *marks = get_args(accepted.kind) if get_origin(accepted.kind) is Annotated else (accepted.kind,)
    return _leaf(Entry("", alias, accepted.default, accepted=accepted), kind, marks)


def _leaf(entry: Entry, kind: Any, marks: Sequence[Any]) -> Entry:
    """Return the entry with the settings that the type of its value gives for reading the text."""
    is_secret = kind is SecretStr
    return replace(
        entry,
        is_secret=is_secret,
        may_be_in_file=is_secret or any(isinstance(mark, MayBeInFile) for mark in marks),
        is_verbatim=any(isinstance(mark, Verbatim) for mark in marks),
        is_in_home=any(isinstance(mark, InHome) for mark in marks),
        unresolved=next((mark.value for mark in marks if isinstance(mark, Unresolved)), ""),
    )


def _is_section(annotation: Any) -> TypeGuard[type[Section]]:
    return isinstance(annotation, type) and issubclass(annotation, Section)
