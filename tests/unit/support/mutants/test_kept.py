"""What a run of mutants keeps for the next one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.mutants.kept import Lessons, Results, digest, forget
from tests.support.mutants.selection import Selection


def test_a_digest_differs_when_one_of_the_texts_does() -> None:
    assert digest(b"a", b"b") == digest(b"a", b"b")
    assert len({digest(b"a", b"b"), digest(b"ab"), digest(b"a", b"c"), digest(b"b", b"a")}) == 4


@pytest.mark.parametrize(
    ("result", "source", "tests", "found"),
    [
        ("killed", "source", "tests", "killed"),
        ("killed", "source", "more tests", "killed"),
        ("hung", "source", "more tests", "hung"),
        ("alive", "source", "tests", "alive"),
        ("alive", "source", "more tests", None),
        ("killed", "other source", "tests", None),
        ("alive", "other source", "tests", None),
    ],
)
def test_a_result_is_good_until_it_could_come_out_otherwise(
    tmp_path: Path, result: str, source: str, tests: str, found: str | None
) -> None:
    Results(tmp_path).add("a.py", "change", result, "source", "tests")

    kept = Results(tmp_path)

    assert kept.find("a.py", "change", source, tests) == found
    assert kept.find("b.py", "change", source, tests) is None


def test_the_last_result_of_a_change_counts(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.add("a.py", "change", "alive", "source", "tests")
    results.add("a.py", "change", "killed", "source", "more tests")

    assert results.find("a.py", "change", "source", "tests") == "killed"
    assert Results(tmp_path).find("a.py", "change", "source", "tests") == "killed"


def test_a_lesson_is_good_for_the_modules_that_are_as_they_were(tmp_path: Path) -> None:
    lessons = Lessons(tmp_path)
    lesson = Selection({"test": 1.0}, {"a.py": {1: ["test"]}})
    lessons.keep("test_a.py", "text", {"a.py": "source", "b.py": "source"}, lesson)

    found = Lessons(tmp_path).find("test_a.py", "text", {"a.py": "source"})

    assert found is not None
    assert found.tests_of("a.py", 1, 1) == ["test"]
    assert lessons.find("test_a.py", "later text", {"a.py": "source"}) is None
    assert lessons.find("test_a.py", "text", {"a.py": "source", "b.py": "later"}) is None
    assert lessons.find("test_a.py", "text", {"c.py": "source"}) is None
    assert lessons.find("test_b.py", "text", {"a.py": "source"}) is None


def test_only_what_was_kept_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    Results(tmp_path).add("a.py", "change", "killed", "source", "tests")
    Lessons(tmp_path).keep("test_a.py", "text", {}, Selection({}, {}))

    forget(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
