"""Renders the Helm chart of `deploy/` without Helm: the few forms of templates that it uses.

Anything else is an error, so that what is rendered here is what Helm renders. Knows nothing of Kubernetes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

_ACTION = re.compile(r"[ \t\n]*\{\{- (.*?) \}\}|\{\{ (.*?) \}\}", re.S)


class Refused(Exception):
    """A value that must be given is not."""


def render(chart: Path, release: str, values: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the documents of each template, with `values` over those of the chart."""
    about = yaml.safe_load((chart / "Chart.yaml").read_text())
    scope = {
        "Values": _merged(yaml.safe_load((chart / "values.yaml").read_text()), values),
        "Release": {"Name": release},
        "Chart": {"AppVersion": about["appVersion"]},
    }
    found = {}
    for path in sorted((chart / "templates").glob("*.yaml")):
        text = _rendered(path.read_text(), scope)
        found[path.name] = [each for each in yaml.safe_load_all(text) if each is not None]
    return found


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    unknown = over.keys() - under.keys()
    assert not unknown, f"the chart has no values {unknown}"
    return {
        key: _merged(value, over[key]) if isinstance(value, dict) and value and key in over else over.get(key, value)
        for key, value in under.items()
    }


def _rendered(text: str, scope: Mapping[str, Any]) -> str:
    out: list[str] = []
    open_blocks: list[bool] = []
    end = 0
    for found in _ACTION.finditer(text):
        if all(open_blocks):
            out.append(text[end : found.start()])
        end = found.end()
        action = found[1] or found[2]
        word, _, rest = action.partition(" ")
        if word == "if":
            is_negated = rest.startswith("not ")
            open_blocks.append(bool(_value(rest.removeprefix("not "), scope)) is not is_negated)
        elif word == "else":
            open_blocks[-1] = not open_blocks[-1]
        elif word == "end":
            open_blocks.pop()
        elif all(open_blocks):
            out.append(_shown(action, scope))
    assert not open_blocks
    return "".join(out) + text[end:]


def _shown(action: str, scope: Mapping[str, Any]) -> str:
    first, *filters = action.split(" | ")
    value = _value(first, scope)
    for each in filters:
        name, _, argument = each.partition(" ")
        if name == "quote":
            value = json.dumps(str(value))
        elif name == "nindent":
            value = "".join(f"\n{' ' * int(argument)}{line}" for line in str(value).splitlines())
        elif name == "default":
            value = value or _value(argument, scope)
        else:
            raise AssertionError(f"no such filter here: {each}")
    return str(value)


def _value(text: str, scope: Mapping[str, Any]) -> Any:
    if text.startswith("toYaml "):
        return yaml.safe_dump(_value(text.removeprefix("toYaml "), scope)).rstrip()
    if found := re.fullmatch(r'required "(.*)" (\S+)', text):
        if not (value := _value(found[2], scope)):
            raise Refused(found[1])
        return value
    assert re.fullmatch(r"(\.\w+)+", text), text
    value = scope
    for name in text[1:].split("."):
        value = value[name]
    return value
