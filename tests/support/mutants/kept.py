"""What earlier runs have found out, kept in a folder, so that a run that was ended goes on where it was.

A result is good as long as the changed file is the same; that nothing noticed it, only until its tests change.
What was learned of a file of tests and a module is good until one of them changes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.support.mutants.selection import Selection

ALIVE: Final = "alive"
RESULTS: Final = "results"
LESSONS: Final = "lessons"


def digest(*texts: bytes) -> str:
    """Return what differs when one of the texts does."""
    whole = hashlib.sha256()
    for text in texts:
        whole.update(hashlib.sha256(text).digest())
    return whole.hexdigest()[:16]


def forget(folder: Path) -> None:
    """Remove what is kept in a folder, and nothing else that may lie there."""
    (folder / RESULTS).unlink(missing_ok=True)
    shutil.rmtree(folder / LESSONS, ignore_errors=True)


class Results:
    """What came of changes, a line for each."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = path = folder / RESULTS
        self._known: dict[tuple[str, str], tuple[str, str, str]] = {}
        if path.exists():
            for line in path.read_text().splitlines():
                self._note(*json.loads(line))

    def _note(self, file: str, name: str, result: str, source: str, tests: str) -> None:
        self._known[file, name] = result, source, tests

    def find(self, file: str, name: str, source: str, tests: str) -> str | None:
        """Return what came of a change of the file with the digest `source`, if it would come out the same."""
        result, old_source, old_tests = self._known.get((file, name), ("", "", ""))
        if old_source != source or (result == ALIVE and old_tests != tests):
            return None
        return result

    def add(self, file: str, name: str, result: str, source: str, tests: str) -> None:
        """Keep what came of a change."""
        self._note(file, name, result, source, tests)
        with self._path.open("a") as lines:
            lines.write(json.dumps([file, name, result, source, tests]) + "\n")


class Lessons:
    """What was learned of files of tests: which of their tests run which lines of which modules."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / LESSONS
        self._folder.mkdir(parents=True, exist_ok=True)

    def _path(self, tests: str) -> Path:
        return self._folder / f"{digest(tests.encode())}.json"

    def find(self, tests: str, text: str, modules: Mapping[str, str]) -> Selection | None:
        """Return the lesson of `tests`, if their file has the digest `text` still, and all `modules` those named."""
        path = self._path(tests)
        kept = json.loads(path.read_text()) if path.exists() else {"text": None}
        if kept["text"] != text or any(kept["modules"].get(file) != each for file, each in modules.items()):
            return None
        return Selection.from_json(kept["lesson"])

    def keep(self, tests: str, text: str, modules: Mapping[str, str], lesson: Selection) -> None:
        """Keep a lesson with the digests of what it is about."""
        path = self._path(tests)
        new = path.with_suffix(".new")
        new.write_text(json.dumps({"text": text, "modules": dict(modules), "lesson": lesson.as_json()}))
        new.rename(path)
