"""Has values validated: those of a model by the model, those of accepted elements each by its type and some in pairs.

`accepted` has the table of the latter, which are kept out of the models.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from broker.config.binding import Reading
from broker.config.element_kinds import Accepted, Given, Rule
from broker.config.layout import Layout
from broker.config.place import Place
from broker.config.values import Section

Model = TypeVar("Model", bound=Section)


def validate(model: type[Model], raw: dict[str, Any], reading: Reading) -> Model | None:
    """Return the model of the raw values, or None after reporting every wrong one."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False):
            element = detail.get("ctx", {}).get("element")
            reading.refuse((*detail["loc"], *([element] if element else [])), complaint_of(detail))
        return None


def complaint_of(detail: ErrorDetails) -> str:
    """Return the text of a validator's error."""
    return str(detail.get("ctx", {}).get("error") or detail["msg"])


def set_aside(layout: Layout, raw: dict[str, Any], reading: Reading, path: Place = ()) -> None:
    """Validate the values of accepted elements and remove them from `raw`, which leaves those of the model."""
    for entry in layout.entries:
        if entry.alias not in raw:
            continue
        here = (*path, entry.alias)
        value = raw[entry.alias] if entry.field else raw.pop(entry.alias)
        if entry.accepted and entry.is_mapping:
            for name, text in value.items():
                reading.accepted[(*here, name)] = Given(text, entry.accepted.why)
        elif entry.accepted:
            _judge(entry.accepted, value, here, reading)
        elif entry.below and entry.is_list:
            for index, item in enumerate(value):
                set_aside(entry.below, item, reading, (*here, index))
        elif entry.below:
            set_aside(entry.below, value, reading, here)


def _judge(accepted: Accepted, value: Any, place: Place, reading: Reading) -> None:
    try:
        judged = _adapter(accepted.kind).validate_python(value)
    except ValidationError as error:
        reading.refuse(place, complaint_of(error.errors(include_url=False, include_input=False)[0]))
    else:
        reading.accepted[place] = Given(judged, accepted.why)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def keep_rules(rules: Iterable[Rule], layout: Layout, reading: Reading) -> None:
    """Report accepted elements that contradict each other."""
    for rule in rules:
        value, other = (_accepted_value(element, layout, reading) for element in (rule.element, rule.other))
        if value is not None and other is not None and not rule.holds(value, other):
            reading.refuse(tuple(rule.element.split("/")), rule.complaint.format(value=value, other=other))


def _accepted_value(element: str, layout: Layout, reading: Reading) -> Any:
    """Return the value of an accepted element, or its default; None when the value was refused."""
    place: Place = tuple(element.split("/"))
    if place in reading.accepted:
        return reading.accepted[place].value
    return None if place in reading.lines else layout.default(place)
