"""Which tests are chosen for a changed line."""

from __future__ import annotations

from pathlib import Path

from tests.support.mutants.selection import Selection

SELECTION = Selection(
    {"slow": 2.0, "quick": 0.5, "other": 0.1},
    {"a.py": {1: [""], 4: ["slow", "quick"], 5: ["other"]}},
)


def test_the_tests_that_run_a_line_are_chosen_the_quickest_first() -> None:
    assert SELECTION.tests_of("a.py", 4, 4) == ["quick", "slow"]


def test_a_change_of_several_lines_has_the_tests_of_all_of_them() -> None:
    assert SELECTION.tests_of("a.py", 4, 5) == ["other", "quick", "slow"]


def test_what_runs_when_the_module_is_imported_is_for_every_test() -> None:
    assert SELECTION.tests_of("a.py", 1, 1) == ["other", "quick", "slow"]


def test_a_line_that_no_test_runs_has_none() -> None:
    assert SELECTION.tests_of("a.py", 9, 9) == []
    assert SELECTION.tests_of("b.py", 1, 1) == []


def test_it_can_be_kept_in_a_file(tmp_path: Path) -> None:
    SELECTION.save(tmp_path / "kept")

    kept = Selection.load(tmp_path / "kept")

    assert kept.tests_of("a.py", 4, 4) == ["quick", "slow"]
    assert kept.seconds_of(["slow", "quick"]) == 2.5


def test_files_are_named_as_seen_from_a_folder(tmp_path: Path) -> None:
    there = Selection({"test": 1.0}, {str(tmp_path / "broker" / "a.py"): {1: ["test"]}})

    assert there.within(tmp_path).tests_of("broker/a.py", 1, 1) == ["test"]


def test_what_several_files_of_tests_have_taught_is_joined() -> None:
    joined = Selection.joined([SELECTION, Selection({"more": 0.2}, {"a.py": {4: ["more"]}, "b.py": {1: ["more"]}})])

    assert joined.tests_of("a.py", 4, 4) == ["more", "quick", "slow"]
    assert joined.tests_of("b.py", 1, 1) == ["more"]
    assert joined.seconds_of(["more", "slow"]) == 2.2
    assert joined.tests_of("a.py", 1, 1) == ["other", "more", "quick", "slow"]
    assert SELECTION.tests_of("a.py", 4, 4) == ["quick", "slow"]
