"""Who may do what: every method, every set of permissions, two virtual hosts, this broker beside RabbitMQ."""

from __future__ import annotations

import pytest

from broker.amqp.connection import CONTROL
from broker.amqp.handlers import HANDLERS
from broker.amqp.handshake import STEPS
from broker.codec.method import METHODS, Method
from broker.codec.methods import BasicPublish, ConnectionCloseOk
from tests.differential import live
from tests.differential.permissions.asking import Answers
from tests.differential.permissions.brokers import ours, theirs
from tests.differential.permissions.cases import BY_PERMISSION, CASES
from tests.differential.permissions.decisions import DIFFERENCES, NEED_NOTHING, without_permission
from tests.differential.permissions.page import page, verdict
from tests.differential.permissions.recorded import PAGE, load
from tests.differential.permissions.world import VHOSTS

SERVED = {*HANDLERS, *STEPS, *CONTROL, BasicPublish, ConnectionCloseOk}
"""Every method that a connection or a channel takes: contents begin with a publish, and a close-ok ends a close."""


@pytest.fixture(scope="module")
def own() -> Answers:
    return ours()


@pytest.fixture(scope="module")
def recorded() -> Answers:
    return load()


def differing(some: Answers, others: Answers) -> list[str]:
    """Return the cases whose answers differ in more than that the missing permission is named."""

    def told(answers: Answers, case: str) -> dict[tuple[str, str], str]:
        return {
            (vhost, grant): without_permission(answer)
            for vhost, by_grant in answers[case].items()
            for grant, answer in by_grant.items()
        }

    return [case for case in some if told(some, case) != told(others, case)]


def test_everything_is_permitted_and_refused_as_by_rabbitmq_but_for_reviewed_differences(
    own: Answers, recorded: Answers
) -> None:
    assert own.keys() == recorded.keys()
    assert differing(own, recorded) == list(DIFFERENCES)


def test_a_refusal_names_the_permission_that_is_missing(own: Answers) -> None:
    refusals = [answer for case in own.values() for vhost in case.values() for answer in vhost.values()]
    refusals = [answer for answer in refusals if verdict(answer) == "no"]
    assert refusals
    assert all(answer != without_permission(answer) for answer in refusals)


def test_the_page_shows_what_is_answered(own: Answers, recorded: Answers) -> None:
    assert PAGE.read_text(encoding="utf-8") == page(own, recorded)


def refused_to_nobody(answers: Answers, kind: type[Method]) -> list[str]:
    """Return the cases of a method that are refused to a user without permissions."""
    cases = [case for case in CASES if type(case.method) is kind and "none" in case.grants]
    return [case.name for case in cases if any(verdict(answers[case.name][vhost]["none"]) == "no" for vhost in VHOSTS)]


@pytest.mark.parametrize("kind", sorted(SERVED, key=lambda kind: kind.index), ids=lambda kind: kind.name)
def test_every_method_that_is_served_needs_a_permission_or_has_a_reason_for_none(
    own: Answers, kind: type[Method]
) -> None:
    assert bool(refused_to_nobody(own, kind)) == (kind not in NEED_NOTHING)


def test_every_method_that_clients_may_send_is_asked_for() -> None:
    asked = {type(case.method) for case in CASES}
    assert asked <= SERVED
    silent = {kind.name for kind in SERVED - asked}
    assert silent == {
        "connection.start-ok",
        "connection.secure-ok",
        "connection.tune-ok",
        "connection.close-ok",
        "channel.flow-ok",
        "channel.close-ok",
        "basic.cancel-ok",
        "exchange.bound",
    }, "what answers the server, which cannot be asked on its own, and what RabbitMQ does not know"
    assert set(METHODS.values()) >= SERVED
    assert set(NEED_NOTHING) <= SERVED


def test_cases_have_names_of_their_own() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert {case.resource for case in BY_PERMISSION} >= {"queue", "exchange", "default exchange", "server-named queue"}


@pytest.mark.slow
def test_rabbitmq_answers_what_was_recorded(recorded: Answers) -> None:
    if not live.is_installed():
        pytest.skip("RabbitMQ is not installed")
    assert theirs() == recorded
