"""Access to the parameters of one database URL by name, with validation of numbers, choices and PEM files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, TypeVar

from broker.config.pem import has_private_key, pem_file
from broker.config.place import did_you_mean

MILLISECONDS: Final = 0.001
SECONDS: Final = 1.0

_LEAST_TIMEOUT: Final = 1.0
_LONG_TIMEOUT: Final = 300.0
_NUMBER = re.compile(r"\d{1,12}(\.\d{1,9})?", re.ASCII)
_BOOLEANS: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

Choice = TypeVar("Choice", bound=str)


class UrlParameters:
    """The parameters of one URL. The case of a name does not matter; a parameter that nobody asked for is unknown."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self.warnings: list[str] = []
        self._given: dict[str, tuple[str, str]] = {}
        for name, text in given.items():
            self._given.setdefault(name.lower(), (name, text.strip()))
        self._known: list[str] = []

    def text(self, *names: str) -> str:
        """Return the text of the first of `names` that is given and not empty."""
        return self._first(names)[1]

    def flag(self, name: str) -> bool | None:
        written, text = self._first((name,))
        if text and text.lower() not in _BOOLEANS:
            raise ValueError(f"parameter '{written}': '{text}' is not true or false")
        return _BOOLEANS.get(text.lower())

    def choice(self, name: str, choices: Mapping[str, Choice]) -> Choice | None:
        """Return the choice that the text names. An empty text counts as missing unless it is among `choices`."""
        self._known.append(name)
        written, text = self._given.get(name.lower(), (name, None))
        if text is None:
            return None
        chosen = choices.get(text.lower().replace("_", "-"))
        if chosen is None and text:
            raise ValueError(f"parameter '{written}': '{text}' is not one of {', '.join(filter(None, choices))}")
        return chosen

    def timeout(self, names: Mapping[str, float], default: float) -> float:
        """Return the seconds given by the first of `names`, which maps each name to its unit; 0 means the default."""
        written, text = self._first(tuple(names))
        if not text or text == "0":
            return default
        units = {name.lower(): unit for name, unit in names.items()}
        unit = units[written.lower()]
        seconds = float(text) * unit if _NUMBER.fullmatch(text) else 0.0
        if seconds < _LEAST_TIMEOUT:
            raise ValueError(
                f"parameter '{written}': '{text}' is not a number of {_name_of(unit)}, at least"
                f" {_LEAST_TIMEOUT / unit:g}, or 0 for the default of {default / unit:g}"
            )
        if seconds > _LONG_TIMEOUT:
            self.warnings.append(
                f"parameter '{written}' lets a silent database go unnoticed for {seconds:.0f} s; it is in"
                f" {_name_of(unit)}"
            )
        return seconds

    def file(self, *names: str) -> Path | None:
        """Return the PEM file given by the first of `names`."""
        written, text = self._first(names)
        if not text:
            return None
        try:
            return pem_file(text)
        except ValueError as error:
            raise ValueError(f"parameter '{written}': {error}") from error

    def certificate_and_key(
        self, certificates: tuple[str, ...], keys: tuple[str, ...]
    ) -> tuple[Path | None, Path | None]:
        certificate, key = self.file(*certificates), self.file(*keys)
        if key and not certificate:
            raise ValueError(f"parameter '{self._first(keys)[0]}': a key needs its certificate in '{certificates[0]}'")
        if certificate and not has_private_key(key or certificate):
            written = self._first(keys if key else certificates)[0]
            raise ValueError(f"parameter '{written}': '{key or certificate}' has no private key")
        return certificate, key

    def judge_the_rest(self, needless: Iterable[str], no_effect: Mapping[str, str]) -> None:
        """Warn of every parameter that nobody asked for, except those in `needless`; `no_effect` gives reasons."""
        known = [*self._known, *needless]
        reasons = {name.lower(): reason for name, reason in no_effect.items()}
        lower = {name.lower() for name in known}
        for key, (written, _) in self._given.items():
            if key in reasons:
                self.warnings.append(f"parameter '{written}' has no effect: {reasons[key]}")
            elif key not in lower:
                hint = did_you_mean(written, [*known, "user", "password"])
                self.warnings.append(f"unknown parameter '{written}'{hint}")

    def _first(self, names: tuple[str, ...]) -> tuple[str, str]:
        self._known += names
        given = (self._given.get(name.lower(), ("", "")) for name in names)
        return next((one for one in given if one[1]), ("", ""))


def _name_of(unit: float) -> str:
    return "seconds" if unit == SECONDS else "milliseconds"
