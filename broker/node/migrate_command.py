"""The command line that moves what WSO2's message broker left in a database: `python -m broker migrate --from-wso2`.

It works on the databases itself, while no node runs; a terminal shows how far it is.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable
from typing import Final, TextIO

from broker.config.configuration import Configuration
from broker.config.datasources import PoolConfiguration
from broker.errors import ConfigError, StoreError, StoreLocked
from broker.node.logs import configure
from broker.node.migration import Migration, Report
from broker.node.printable import printable
from broker.store.wso2.progress import Progress
from broker.store.wso2.survey import Found

EX_OK: Final = 0
EX_LEFT: Final = 1
EX_UNAVAILABLE: Final = 69
EX_CONFIG: Final = 78
EX_INTERRUPTED: Final = 130

_AGAIN: Final = "run it again to go on"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line behind `migrate`."""
    whole = argparse.ArgumentParser(
        prog="python -m broker migrate",
        description="Move queues, bindings, durable subscriptions and messages from a database of WSO2's message broker"
        " into this broker's. All nodes of both must be stopped. What was killed goes on when it is run again.",
    )
    whole.add_argument("--config", metavar="PATH", help="broker.xml of a node, or the folder it is in")
    whole.add_argument("--from-wso2", action="store_true", required=True, help="from WSO2's message broker")
    whole.add_argument(
        "--source",
        metavar="NAME",
        help="JNDI name of the datasource to move from, or a URL; without it, the one that the messages move into",
    )
    whole.add_argument("--dry-run", action="store_true", help="only read everything, and say what would be moved")
    whole.add_argument(
        "--ignore-connections", action="store_true", help="other connections to the database are not of WSO2's nodes"
    )
    return whole


def run(options: argparse.Namespace, config: Configuration) -> int:
    """Move everything and return the exit code: 0, or 1 when something was left; 69 and 78 as a start has them."""
    logs = configure("error")
    show = _Progress(sys.stderr) if sys.stderr.isatty() else None
    try:
        migration = Migration(
            config,
            source_of(config, options.source),
            say=_say if show is None else show.above(_say),
            show=(lambda progress, found: None) if show is None else show,
            sleep=asyncio.sleep,
            ignores_sessions=options.ignore_connections,
        )
        report = asyncio.run(migration.run(is_dry=options.dry_run))
    except KeyboardInterrupt:
        return _stopped(f"interrupted; {_AGAIN}", EX_INTERRUPTED)
    except StoreLocked as error:
        return _stopped(str(error), EX_CONFIG)
    except StoreError as error:
        return _stopped(f"{error}; {_AGAIN}", EX_UNAVAILABLE)
    except ConfigError as error:
        return _stopped(str(error), EX_CONFIG)
    finally:
        if show is not None:
            show.end()
        logs.close()
    return _tell(report, is_dry=options.dry_run)


def source_of(config: Configuration, given: str | None) -> PoolConfiguration | None:
    """Return the database that `--source` names, None without one. Raises `ConfigError`."""
    if given is None:
        return None
    try:
        if ":" not in given or config.datasources.find(given) is not None:
            return config.datasources.resolve(given)
        source = PoolConfiguration(url=given)
        _ = source.store_url
    except ValueError as error:
        raise ConfigError(f"--source: {error}") from error
    return source


def _tell(report: Report, *, is_dry: bool) -> int:
    if report.was_done:
        _say("everything had been moved before")
    for line in report.lines("would be moved" if is_dry else "moved"):
        _say(line)
    return EX_OK if report.is_complete else EX_LEFT


def _say(text: str) -> None:
    print(printable(text), flush=True)


def _stopped(text: str, code: int) -> int:
    print(printable(text), file=sys.stderr, flush=True)
    return code


class _Progress:
    """A line on a terminal that is written over."""

    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal
        self._shown = ""

    def __call__(self, progress: Progress, found: Found) -> None:
        done = progress.moved + progress.dead + progress.passed_over + progress.unreadable
        self._shown = f"{done} of {found.messages} messages"
        self._terminal.write(f"\r{self._shown}")
        self._terminal.flush()

    def above(self, say: Callable[[str], None]) -> Callable[[str], None]:
        """Return `say` for lines that stay."""

        def say_above(text: str) -> None:
            self.end()
            say(text)

        return say_above

    def end(self) -> None:
        """Leave the line alone from now on."""
        if self._shown:
            self._terminal.write("\n")
            self._shown = ""
