"""What command lines say in small texts: arguments of queues, headers, JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any, Final

import click

from broker.cli.failure import EX_CANTCREAT, EX_NOINPUT, CommandFailure


def json_of(text: str, what: str) -> Any:
    """Return a value of JSON. Raises `click.UsageError`."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        form = "an object is '{\"max-length\": 1000}', a text stands in double quotes"
        raise click.UsageError(f"{what} {text!r} is no JSON: {form}") from None


def pairs_of(given: Iterable[str], what: str) -> dict[str, Any]:
    """Return `name=value`s; a value that is a number, true, false or an object of JSON is that, any other a text."""
    pairs: dict[str, Any] = {}
    for each in given:
        name, equals, text = each.partition("=")
        if not equals or not name:
            raise click.UsageError(f"{what} {each!r} has not the form NAME=VALUE")
        try:
            pairs[name] = json.loads(text)
        except (ValueError, RecursionError):
            pairs[name] = text
    return pairs


def moment(text: str) -> int:
    """Return the milliseconds since 1970 that a time is: a number of them, or a text of ISO 8601, in UTC unless it says
    otherwise. Raises `click.BadParameter`, for seconds too.
    """
    from broker.codec.delivery_time import moment_in  # nothing for every command

    is_number = text.isascii() and text.isdecimal()
    if is_number and _LEAST_SECONDS <= int(text) < _LEAST_MS:
        raise click.BadParameter(f"{text} milliseconds are in 1970: seconds get three zeros more, {text}000")
    try:
        return moment_in(int(text) if is_number else text)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{text!r} is neither milliseconds since 1970 nor a time of ISO 8601, such as 2030-01-01T08:00:00Z"
        ) from None


_LEAST_SECONDS: Final = 1_000_000_000
_LEAST_MS: Final = 31_536_000_000
"""Between these is what people mean as seconds."""


def octets_of(path: str) -> bytes:
    """Return what a file holds, or the input for `-`. Raises `CommandFailure`."""
    try:
        if path == "-":
            if sys.stdin.isatty():
                click.echo("reading what is typed, until Ctrl-D", err=True)
            return sys.stdin.buffer.read()
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise CommandFailure(EX_NOINPUT, f"{path} cannot be read: {error.strerror}") from None


def write_private(path: str, text: str) -> None:
    """Write a file that only its owner may read, or the output for `-`. Raises `CommandFailure`."""
    import os

    if path == "-":
        click.echo(text)
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text + "\n")
    except OSError as error:
        raise CommandFailure(EX_CANTCREAT, f"{path} cannot be written: {error.strerror}") from None
