"""What selectors let pass, compared with the library of Qpid's client, whose answers are recorded (`make jms`)."""

from __future__ import annotations

from tests.jms import selectors


def test_selectors_let_pass_what_they_do_with_the_library_of_qpids_client() -> None:
    answers = selectors.recorded()
    assert len(answers) == selectors.SELECTORS + len(selectors.DEVIATIONS)
    assert not selectors.differences(answers)


def test_most_selectors_tell_messages_apart() -> None:
    answers = selectors.recorded()
    assert sum("1" in each and "0" in each for each in answers) > selectors.SELECTORS / 2
