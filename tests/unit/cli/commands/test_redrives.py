"""What `brokerctl` tells of a redrive: how it ended, why messages stay, and what can be done next."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.command_line import CommandLine
from tests.unit.cli.test_program import ROOT, with_redrive
from tests.unit.cli.test_program import brokerctl as brokerctl


def test_the_end_is_waited_for_and_how_to_take_it_back_is_said(brokerctl: CommandLine) -> None:
    with_redrive(brokerctl, begun=False)
    ended = brokerctl("redrive_queue orders --to old")
    lines = ended.out.splitlines()
    assert {"state\tdone", "moved\t1"} <= set(lines)
    assert lines[-1] == "brokerctl undo_redrive 1 takes it back"
    assert brokerctl("-s undo_redrive 1").out.splitlines()[-2:] == ["restored\t1", "not_restored\t0"]


def test_reasons_are_shown(brokerctl: CommandLine) -> None:
    brokerctl.publish("another")
    ended = brokerctl("redrive_queue orders")
    [stays] = [line for line in ended.out.splitlines() if line.startswith("stays")]
    assert stays.startswith("stays\tit does not say in which queue it died (2 times, such as message ")
    shown = brokerctl("show_redrive 1")
    assert stays in shown.out
    assert len(json.loads(brokerctl("show_redrive 1 --json").out)["reasons"]) == 2


@pytest.mark.parametrize("options", ["", "--dry-run"])
@pytest.mark.parametrize("where", ["customer = acme", 'customer = "acme"', "attempts < 5 AND customer = acme"])
def test_a_word_that_is_taken_for_a_header_is_told(where: str, options: str, brokerctl: CommandLine) -> None:
    with_redrive(brokerctl, begun=False)
    ended = brokerctl(f"redrive_queue orders --to old {options} --where '{where}'")
    told = "--where compares the headers customer and acme: the text is 'acme', in single quotes\n"
    assert (ended.code, ended.err) == (0, f"nothing is selected: {told}")


@pytest.mark.parametrize("option", ["--limit 0", "--limit 100001", "--rate 0"])
def test_a_number_out_of_range_is_refused(option: str, brokerctl: CommandLine) -> None:
    assert brokerctl(f"redrive_queue orders {option}").code == 64


def test_the_commands_of_the_page_do_what_it_says_one_after_the_other(brokerctl: CommandLine) -> None:
    assert brokerctl("delete_queue orders --yes").code == 0
    page = (ROOT / "docs" / "redriving.md").read_text()
    lines = [line for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]
    ended = [brokerctl(line.removeprefix("brokerctl ")) for line in lines]
    assert [(each.code, each.err) for each in ended] == [(0, "")] * len(lines)
    assert "would_move\t1\n" in ended[4].out
    assert [each.out.count("moved\t1\n") for each in (ended[5], ended[7])] == [1, 1]
    assert "restored\t1\n" in ended[-1].out


def test_a_dry_run_says_why_messages_would_stay(brokerctl: CommandLine) -> None:
    out = brokerctl("redrive_queue orders --dry-run").out
    assert out.startswith("would_move\t0\nwould_stay\t1\nwould stay\tit does not say in which queue it died (1 times")
