"""Makes the page of permissions from the answers of both brokers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from broker.auth.access import Permission
from tests.differential.permissions.asking import Answers
from tests.differential.permissions.cases import BY_PERMISSION, BY_TOPIC, BY_USER, Case
from tests.differential.permissions.decisions import DIFFERENCES, NEED_NOTHING
from tests.differential.permissions.world import ALL, GRANTS, IMPERSONATOR, STRANGER, TOPICS, VHOSTS, grant_name

_REFUSED: Final = re.compile(
    r"access to ((?:topic '.*?' in )?(?:queue|exchange) '.*?') in vhost '.*?' refused for user"
)
_CODE: Final = re.compile(r"close reply_code=(\d+)")
_INTRODUCTION: Final = """\
# Permissions

What each method needs, as clients find it. These tables are generated: every method that a client may send is sent by
users with each of the eight sets of permissions, in the virtual host `/` and in another one, to this broker and to
RabbitMQ 3.10. Who has some permissions in one virtual host may do everything in the other, which counts for nothing.
`tests/differential/test_permissions.py` asks again, compares the answers word by word, and holds this page;
`python -m tests.differential.permissions.recorded` writes it.

*yes* stands for an answer that is no refusal, *no* for 403 for want of a permission, a number for another error. Where
RabbitMQ answers something else, its answer is in brackets. `q` and `qd` are queues that exist, `x`, `y`, `xa` and `d`
direct exchanges, `t` is a topic exchange; `n` is new, `m` is missing. `xa` has `y` as its alternate exchange, `qd`
sends its dead letters to `x`. The default exchange is named `amq.default`, a server-named queue `amq.gen-*`.
"""
_AFTER_TABLES: Final = """\
Permissions for a dead-letter or alternate exchange are asked for when the queue or exchange is made, not when a
message goes there. A permission that is revoked is gone for open connections too: the next method is refused, and a
consumer that may not read its queue any more is cancelled.
"""
_ABOUT_USERS: Final = """\
An *impersonator* has the tag of that name and all permissions; a *stranger* has none in the virtual host, not even
empty ones.
"""
_ABOUT_TOPICS: Final = """\
Both users have all permissions. The first has topic permissions too: keys that begin with `a` may be written, and those
that begin with `b` read, at `t`, and at `d`, a direct exchange; `{username}-{vhost}` may be written at `variables`, and
an empty expression is set at `nothing`.
"""
_ABOUT_DIFFERENCES: Final = """\
A refusal names the permission that is missing, as from RabbitMQ 4 on: `configure access to queue 'q' in vhost '/'
refused for user 'u'`. RabbitMQ 3.10 says `access to queue 'q' in vhost '/' refused for user 'u'`.
"""


def verdict(answer: str) -> str:
    """Return what a reader wants to know of an answer."""
    if _REFUSED.search(answer):
        return "no"
    code = _CODE.search(answer)
    return code[1] if code else "yes"


def needs(answers: dict[str, str]) -> str:
    """Return the permissions that the smallest set which is not refused for want of one has, and what they are for."""
    permitted = [grant for grant in GRANTS if verdict(answers[grant_name(grant)]) != "no"]
    if not permitted:
        return "cannot be had"
    smallest = permitted[0]
    assert all((set(grant) >= set(smallest)) == (grant in permitted) for grant in GRANTS), answers
    return ", ".join(_one_need(answers, permission) for permission in smallest) or "nothing"


def _one_need(answers: dict[str, str], permission: Permission) -> str:
    others = grant_name(tuple(each for each in Permission if each != permission))
    resource = _REFUSED.search(answers[others])
    assert resource is not None, answers
    return f"{permission} {resource[1]}".replace("'", "`")


def page(ours: Answers, theirs: Answers) -> str:
    """Return the page."""
    return "\n".join(
        [
            _INTRODUCTION,
            "## Methods\n",
            *_by_permission(ours, theirs),
            "",
            _AFTER_TABLES,
            "## Users\n",
            _ABOUT_USERS,
            *_by_grant(BY_USER, ("none", "configure", "write", "read", ALL, IMPERSONATOR, STRANGER), ours, theirs),
            "",
            "## Topic permissions\n",
            _ABOUT_TOPICS,
            *_by_grant(BY_TOPIC, (TOPICS, ALL), ours, theirs),
            "",
            "## Methods that need no permission\n",
            *_needing_nothing(),
            "",
            "## Differences from RabbitMQ\n",
            _ABOUT_DIFFERENCES,
            "| method | why |",
            "|---|---|",
            *(f"| {_shown(name)} | {reason} |" for name, reason in DIFFERENCES.items()),
            "",
        ]
    )


def _by_permission(ours: Answers, theirs: Answers) -> Iterator[str]:
    yield "| method | of | virtual host | none | configure | write | read | needs | needs in RabbitMQ |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for case in BY_PERMISSION:

        def cells(vhost: str, name: str = case.name) -> tuple[str, ...]:
            mine, other = ours[name][vhost], theirs[name][vhost]
            singles = ("none", *Permission)
            return (*(_beside(mine[grant], other[grant]) for grant in singles), needs(mine), needs(other))

        yield from _rows(case, cells)


def _by_grant(cases: Sequence[Case], grants: Sequence[str], ours: Answers, theirs: Answers) -> Iterator[str]:
    yield f"| method | of | virtual host | {' | '.join(grants)} |"
    yield f"|---|---|---{'|---' * len(grants)}|"
    for case in cases:

        def cells(vhost: str, name: str = case.name) -> tuple[str, ...]:
            mine, other = ours[name][vhost], theirs[name][vhost]
            return tuple(_beside(mine[grant], other[grant]) if grant in mine else "" for grant in grants)

        yield from _rows(case, cells)


def _rows(case: Case, cells: Callable[[str], tuple[str, ...]]) -> Iterator[str]:
    """Return a row for each virtual host, or one for both if they are the same."""
    told: dict[tuple[str, ...], list[str]] = {}
    for vhost in VHOSTS:
        told.setdefault(cells(vhost), []).append(f"`{vhost}`")
    for row, vhosts in told.items():
        yield f"| {_shown(case.what)} | {case.resource} | {', '.join(vhosts)} | {' | '.join(row)} |"


def _beside(mine: str, other: str) -> str:
    return verdict(mine) if verdict(mine) == verdict(other) else f"{verdict(mine)} (*{verdict(other)}*)"


def _needing_nothing() -> Iterator[str]:
    reasons: dict[str, list[str]] = {}
    for method, reason in NEED_NOTHING.items():
        reasons.setdefault(reason, []).append(f"`{method.name}`")
    yield "| method | why |"
    yield "|---|---|"
    yield from (f"| {', '.join(names)} | {reason} |" for reason, names in reasons.items())


def _shown(what: str) -> str:
    name, _, more = what.partition(" ")
    return f"`{name}` {more}".rstrip()
