"""Contract G1 to G5."""

from __future__ import annotations

import pytest

from broker import errors
from broker.errors import AmqpError, ConnectionFault, NotFound, clip


def classes(root: type[AmqpError]) -> list[type[AmqpError]]:
    return [root, *(each for child in root.__subclasses__() for each in classes(child))]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.ContentTooLarge, 311),
        (errors.AccessRefused, 403),
        (errors.NotFound, 404),
        (errors.ResourceLocked, 405),
        (errors.PreconditionFailed, 406),
        (errors.InvalidSelector, 409),
    ],
)
def test_these_errors_close_the_channel(kind: type[AmqpError], code: int) -> None:
    assert (kind.reply_code, kind.closes_connection) == (code, False)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.ConnectionForced, 320),
        (errors.InvalidPath, 402),
        (errors.LoginRefused, 403),
        (errors.FrameFault, 501),
        (errors.SyntaxFault, 502),
        (errors.CommandInvalid, 503),
        (errors.ChannelFault, 504),
        (errors.UnexpectedFrame, 505),
        (errors.ResourceFault, 506),
        (errors.NotAllowed, 530),
        (errors.NotImplementedFault, 540),
        (errors.InternalError, 541),
    ],
)
def test_these_errors_close_the_connection(kind: type[AmqpError], code: int) -> None:
    assert (kind.reply_code, kind.closes_connection) == (code, True)


def test_every_error_has_its_own_code_but_the_login_and_a_content_that_is_missing() -> None:
    of_branches = [kind for kind in classes(AmqpError) if kind.__name__.startswith("Branch")]
    shared = AmqpError, ConnectionFault, errors.LoginRefused, errors.ContentExpected, *of_branches
    kinds = [kind for kind in classes(AmqpError) if kind not in shared and kind.__module__ == errors.__name__]
    assert len({kind.reply_code for kind in kinds}) == len(kinds) == 17


def test_a_reply_text_begins_with_the_name_of_its_code() -> None:
    assert NotFound("no queue 'q' in vhost '/'").reply_text == "NOT_FOUND - no queue 'q' in vhost '/'"


def test_a_reply_text_fits_a_short_string() -> None:
    assert len(NotFound("x" * 1000).reply_text) == 255


@pytest.mark.parametrize(
    ("text", "limit", "clipped"),
    [("abc", 3, "abc"), ("abcd", 3, "abc"), ("aü", 2, "a"), ("aü", 3, "aü"), ("\U0001f407", 3, ""), ("", 0, "")],
)
def test_text_is_clipped_between_characters(text: str, limit: int, clipped: str) -> None:
    assert clip(text, limit) == clipped
