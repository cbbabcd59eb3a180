"""What `brokerctl` says of exchanges that are named and are not there."""

from __future__ import annotations

from tests.support.command_line import CommandLine
from tests.unit.cli.test_program import brokerctl as brokerctl

MISSING = "there is no exchange 'dlx' in virtual host '/': messages are lost\n"


def test_an_exchange_for_dead_letters_that_is_not_there_is_told_and_what_was_asked_for_done(
    brokerctl: CommandLine,
) -> None:
    ended = brokerctl("queue add q --argument x-dead-letter-exchange=dlx")
    assert (ended.code, ended.err) == (0, f"warning: x-dead-letter-exchange: {MISSING}")
    ended = brokerctl("""set_policy p '^q' '{"dead-letter-exchange": "dlx"}'""")
    assert (ended.code, ended.err) == (0, f"warning: dead-letter-exchange: {MISSING}")
    assert (
        brokerctl("""set_policy p '^q' '{"dead-letter-exchange": "", "alternate-exchange": "amq.fanout"}'""").err == ""
    )
