from __future__ import annotations

import click
import pytest

from broker.cli.duration import duration_in


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30.0),
        ("500ms", 0.5),
        ("5m", 300.0),
        ("5min", 300.0),
        ("1.5h", 5400.0),
        ("1d", 86_400.0),
        ("1m30s", 90.0),
        (" 2s ", 2.0),
    ],
)
def test_a_duration_has_a_unit(text: str, seconds: float) -> None:
    assert (duration_in("s")(text), duration_in("ms")(text)) == (seconds, 1000 * seconds)


@pytest.mark.parametrize(("text", "number"), [("30", 30.0), ("0.5", 0.5), (10.0, 10.0)])
def test_a_number_is_in_the_usual_unit(text: str, number: float) -> None:
    assert (duration_in("s")(text), duration_in("ms")(text)) == (number, round(number))


@pytest.mark.parametrize("text", ["", "soon", "1M", "1 m", "-5", "m", "5x", "1m30", "1e3", "nan", "inf", "9" * 400])
def test_what_is_no_duration_is_told_what_is(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no duration: say a number of seconds, or 500ms, 30s, 5m, 2h, 1d"):
        duration_in("s")(text)


def test_a_duration_has_limits() -> None:
    with pytest.raises(click.BadParameter, match="'2h' is out of range: at least 0 s and at most 3600 s"):
        duration_in("s", 0, 3600)("2h")
    with pytest.raises(click.BadParameter, match=r"at least 0\.1 s$"):
        duration_in("s", 0.1)("1ms")
