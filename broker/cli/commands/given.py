"""What command lines say in small texts: arguments of queues, headers, JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

import click

from broker.cli.failure import EX_CANTCREAT, EX_NOINPUT, CommandFailure


def json_of(text: str, what: str) -> Any:
    """Return a value of JSON. Raises `click.UsageError`."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise click.UsageError(f"{what} {text!r} is no JSON") from None


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


def octets_of(path: str) -> bytes:
    """Return what a file holds, or the input for `-`. Raises `CommandFailure`."""
    try:
        if path == "-":
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
