from __future__ import annotations

import pytest

from broker.config.url_parameters import MILLISECONDS, SECONDS, UrlParameters


def test_parameters_are_found_in_any_case_and_the_first_spelling_counts():
    assert UrlParameters({"USESSL": "true", "useSSL": "false"}).flag("useSSL") is True


@pytest.mark.parametrize(("text", "value"), [("yes", True), ("1", True), ("No", False), ("0", False), ("", None)])
def test_a_flag_may_be_written_in_several_ways(text, value):
    assert UrlParameters({"x": text}).flag("x") is value


def test_the_first_name_that_has_a_text_wins():
    parameters = UrlParameters({"a": "", "b": " text ", "c": "other"})
    assert (parameters.text("a", "b", "c"), parameters.text("d")) == ("text", "")


def test_a_choice_is_made_in_any_case_with_dash_or_underscore():
    parameters = UrlParameters({"mode": "Verify_CA", "empty": ""})
    assert parameters.choice("mode", {"verify-ca": "yes"}) == "yes"
    assert parameters.choice("empty", {"": "default"}) == "default"
    assert parameters.choice("empty", {"a": "b"}) is None
    assert parameters.choice("missing", {"a": "b"}) is None


def test_each_name_of_a_timeout_has_its_unit():
    assert UrlParameters({"ms": "1500"}).timeout({"ms": MILLISECONDS, "s": SECONDS}, 5.0) == 1.5
    assert UrlParameters({"s": "1.5"}).timeout({"ms": MILLISECONDS, "s": SECONDS}, 5.0) == 1.5


@pytest.mark.parametrize("text", ["0", ""])
def test_a_timeout_of_nothing_is_the_default(text):
    assert UrlParameters({"s": text}).timeout({"s": SECONDS}, 5.0) == 5.0


@pytest.mark.parametrize("text", ["0.999", "-5", "1e3", "inf", "x", "٧", "1" * 40])
def test_a_timeout_is_a_plain_number_of_at_least_a_second(text):
    with pytest.raises(ValueError, match=r"is not a number of seconds, at least 1, or 0 for the default of 5$"):
        UrlParameters({"s": text}).timeout({"s": SECONDS}, 5.0)


def test_parameters_nobody_asked_for_are_unknown_unless_they_are_needless():
    parameters = UrlParameters({"asked": "1", "Needless": "1", "other": "1", "moot": "1", "assked": "1"})
    parameters.text("asked")
    parameters.judge_the_rest(["needless"], {"Moot": "because"})
    assert parameters.warnings == [
        "unknown parameter 'other'",
        "parameter 'moot' has no effect: because",
        "unknown parameter 'assked'; did you mean 'asked'?",
    ]
