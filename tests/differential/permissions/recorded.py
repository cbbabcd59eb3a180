"""What RabbitMQ answered, and the page that shows it beside this broker's answers.

`python -m tests.differential.permissions.recorded` asks RabbitMQ again and writes both; `--page` only the page.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

from tests.differential.permissions.asking import Answers
from tests.differential.permissions.brokers import ours, theirs
from tests.differential.permissions.page import page

RABBITMQ: Final = Path(__file__).parent / "rabbitmq.json"
PAGE: Final = Path(__file__).parents[3] / "docs" / "permissions.md"


def load() -> Answers:
    """Return RabbitMQ's answers."""
    found = json.loads(RABBITMQ.read_text(encoding="utf-8"))
    return {
        case: {
            vhost: {grant: answer for answer, grants in answers.items() for grant in grants}
            for vhost, answers in vhosts.items()
        }
        for case, vhosts in found.items()
    }


def save(answers: Answers) -> None:
    """Write answers, each with those who got it."""
    kept: dict[str, dict[str, dict[str, list[str]]]] = {}
    for case, vhosts in answers.items():
        for vhost, by_grant in vhosts.items():
            told = kept.setdefault(case, {}).setdefault(vhost, {})
            for grant, answer in by_grant.items():
                told.setdefault(answer, []).append(grant)
    lines = [f"{json.dumps(case)}: {json.dumps(vhosts, ensure_ascii=False)}" for case, vhosts in kept.items()]
    RABBITMQ.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    if "--page" not in sys.argv:
        save(theirs())
    PAGE.write_text(page(ours(), load()), encoding="utf-8")
