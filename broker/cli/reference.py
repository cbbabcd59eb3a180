"""Writes the commands into `docs/brokerctl.md`: `python -m broker.cli.reference docs/brokerctl.md`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import click

from broker.cli.command import BrokerCommand
from broker.cli.program import SECTIONS

MARK: Final = "<!-- python -m broker.cli.reference writes what follows -->\n"


def reference() -> str:
    """Return the documentation of all commands, in Markdown."""
    lines: list[str] = []
    for title, commands in SECTIONS.items():
        lines += [f"\n## {title}\n"]
        for each in commands:
            lines += _of(each)
    return "\n".join(lines) + "\n"


def _of(command: BrokerCommand) -> list[str]:
    usage = " ".join(command.collect_usage_pieces(click.Context(command)))
    lines = [f"### {command.names[0]}\n", " ".join((command.help or "").split()), ""]
    if len(command.names) > 1:
        lines += [f"Also: {', '.join(f'`{name}`' for name in command.names[1:])}.", ""]
    lines += ["```", f"brokerctl {command.names[0]} {usage}", "", *command.examples, "```", ""]
    options = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
    if options:
        lines += ["| option | |", "|---|---|"]
        lines += [f"| `{', '.join(each.opts)}` | {(each.help or '').replace('|', '/')} |" for each in options]
        lines += [""]
    return lines


def main() -> None:
    """Rewrite the file that is named."""
    path = Path(sys.argv[1])
    before, mark, _ = path.read_text().partition(MARK)
    path.write_text(before + mark + reference())


if __name__ == "__main__":
    main()
