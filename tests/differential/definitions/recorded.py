"""What RabbitMQ 3.10 exported when everything was in it: `python -m tests.differential.definitions.recorded` records
it anew.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.differential.definitions.everything import PLUGINS, fill
from tests.differential.live import Node, rabbitmq_node

RABBITMQ: Final = Path(__file__).parent / "rabbitmq.json"
SECTIONS: Final = (
    "users",
    "vhosts",
    "permissions",
    "topic_permissions",
    "parameters",
    "global_parameters",
    "policies",
    "queues",
    "exchanges",
    "bindings",
)
_CHOSEN: Final = re.compile(r"^amq\.gen-")

Definitions = Mapping[str, Any]


def load() -> Definitions:
    """Return the recorded definitions."""
    found: Definitions = json.loads(RABBITMQ.read_text(encoding="utf-8"))
    return found


def export(node: Node, folder: Path) -> Definitions:
    """Return what a server exports."""
    path = folder / "exported.json"
    node.control("export_definitions", str(path))
    found: Definitions = json.loads(path.read_text(encoding="utf-8"))
    return found


def comparable(definitions: Definitions) -> dict[str, list[Any]]:
    """Return everything but versions, in order, without what RabbitMQ says in two ways or does not import itself."""
    found = {section: [_plain(section, each) for each in definitions[section]] for section in SECTIONS}
    found["queues"] = [queue for queue in found["queues"] if not _CHOSEN.match(queue["name"])]
    return {section: sorted(each, key=lambda one: json.dumps(one, sort_keys=True)) for section, each in found.items()}


def _plain(section: str, given: Mapping[str, Any]) -> dict[str, Any]:
    told = dict(given)
    if section == "vhosts":  # what is set is in `metadata`, and limits are parameters
        metadata = dict(given["metadata"])
        if isinstance(metadata["tags"], str):  # as they were given on the command line
            metadata["tags"] = [tag for tag in metadata["tags"].split(",") if tag]
        return {"name": given["name"], "metadata": metadata}
    if section == "exchanges":  # those that are internal are not exported
        told.pop("internal", None)
    if section == "parameters" and isinstance(told["value"].get("definition"), list):  # an object, in pairs
        told["value"] = {**told["value"], "definition": dict(told["value"]["definition"])}
    return told


def without_secrets(definitions: Definitions) -> dict[str, list[Any]]:
    """Return what can be compared of two servers that were filled alike: salts are chosen by chance."""
    found = comparable(definitions)
    found["users"] = [{**user, "password_hash": bool(user["password_hash"])} for user in found["users"]]
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name, rabbitmq_node(Path(name), PLUGINS) as server:
        fill(server, Path(name))
        text = json.dumps(export(server, Path(name)), indent=0, ensure_ascii=False, sort_keys=True)
        RABBITMQ.write_text(text + "\n", encoding="utf-8")
