"""What conditions are for one message, by the rules of JMS 1.1, section 3.8.1: TRUE, FALSE or UNKNOWN."""

from __future__ import annotations

import pytest

from broker.codec.field_table import ByteArray, Int64
from tests.support.selector_messages import truth, view

MESSAGE = view(
    {
        "s": "abc",
        "empty": "",
        "quote": "it's",
        "num": "5",
        "percent": "100%",
        "under": "a_b",
        "lines": "one\ntwo",
        "umlaut": "Zürich",
        "i": 5,
        "zero": 0,
        "one": 1,
        "neg": -7,
        "big": Int64((1 << 53) + 1),
        "max": Int64((1 << 63) - 1),
        "f": 2.5,
        "whole": 5.0,
        "tiny": 1e-300,
        "yes": True,
        "no": False,
        "nothing": None,
        "table": {"a": 1},
        "array": [1],
        "octets": ByteArray(b"abc"),
        "Country": "France",
        "age": 17,
        "x-y": "dashed",
        "and": "word",
        "_a$1": 9,
        "JMSXGroupID": "g",
        "JMSXGroupSeq": 3,
        "JMS_QPID_DESTTYPE": 1,
    },
    priority=7,
    delivery_mode=2,
    message_id="ID:1",
    correlation_id="c",
    type="order",
    timestamp=1_700_000_000_123,
    expiration="",
    reply_to="direct://amq.direct//q",
)

TRUE = r"""
    s = 'abc'
    'abc' = s
    s <> 'abd'
    s <> 'ABC'
    empty = ''
    quote = 'it''s'
    num = '5'
    i = 5
    5 = i
    i = 5L
    i = 5l
    i = 0x5
    i = 0X05
    i = 05
    017 = 15
    0x1F = 31
    0xfL = 15
    i = 5.0
    i = 5.
    i = 5e0
    i = .5E1
    i = 50E-1
    i = +5
    i = 5d
    f = 2.5D
    0.5f = 0.5
    0.1f > 0.1
    whole = 5
    whole = i
    i = whole
    f = 2.5
    neg = -7
    neg = - 7
    i = --5
    i = - -5
    i = +-+-5
    -i = -5
    -neg = 7
    i <> 6
    i > 4
    i >= 5
    i < 6
    i <= 5
    i < 5.5
    f > 2
    4 < i
    big <> 9007199254740992.0
    big > 9007199254740992.0
    big = 9007199254740993
    max = 9223372036854775807
    -9223372036854775808 < neg
    max < 9223372036854775808
    max < 9223372036854775808.0
    tiny > 0
    yes
    NOT no
    yes = TRUE
    yes = true
    no = FALSE
    yes <> no
    yes <> FALSE
    NOT (yes AND no)
    yes OR no
    no OR yes
    TRUE
    TRUE AND TRUE
    NOT FALSE
    NOT NOT TRUE
    not not not false
    i + 1 = 6
    i - 1 = 4
    i * 2 = 10
    i / 2 = 2.5
    5 / 2 = 2.5
    i % 3 = 2
    neg % 3 = -1
    neg % -3 = -1
    f % 2 = 0.5
    1 + 2 * 3 = 7
    (1 + 2) * 3 = 9
    10 - 3 - 2 = 5
    100 / 10 / 2 = 5
    2 * 3 % 4 = 2
    -i * 2 = -10
    i + f = 7.5
    i * (f + 0.5) = 15
    max + 1 > max
    i BETWEEN 5 AND 5
    i BETWEEN 1 AND 9
    i NOT BETWEEN 6 AND 9
    i NOT BETWEEN 1 AND 4
    i BETWEEN f AND f * 2
    i + 1 BETWEEN 6 AND 6
    f BETWEEN 2 AND 3
    5 BETWEEN zero AND i
    age BETWEEN 15 AND 19
    age NOT BETWEEN 18 AND 19
    i NOT BETWEEN 9 AND nothing
    Country IN ('UK', 'US', 'France')
    Country IN ('France')
    Country NOT IN ('UK', 'US')
    i NOT IN ('5')
    s LIKE 'abc'
    s LIKE 'a%'
    s LIKE '%c'
    s LIKE '%b%'
    s LIKE 'a_c'
    s LIKE '___'
    s LIKE '%'
    s LIKE 'abc%'
    s LIKE '%%%'
    s LIKE '_%_'
    s NOT LIKE 'b%'
    s NOT LIKE '_'
    empty LIKE ''
    empty LIKE '%'
    empty NOT LIKE '_'
    lines LIKE 'one%two'
    lines LIKE 'one_two'
    umlaut LIKE 'Z_rich'
    percent LIKE '100\%' ESCAPE '\'
    percent LIKE '%!%' ESCAPE '!'
    under LIKE 'a\_b' ESCAPE '\'
    s NOT LIKE 'a\_c' ESCAPE '\'
    quote LIKE 'it''_'
    'abc' LIKE 'a%'
    i NOT LIKE '5'
    nothing IS NULL
    missing IS NULL
    table IS NULL
    array IS NULL
    octets IS NULL
    s IS NOT NULL
    zero IS NOT NULL
    empty IS NOT NULL
    no IS NOT NULL
    i / 0 IS NULL
    i % 0 IS NULL
    i / zero IS NULL
    f / 0.0 IS NULL
    s + 1 IS NULL
    -s IS NULL
    +yes IS NULL
    missing + 1 IS NULL
    NULL IS NULL
    TRUE OR missing = 1
    missing = 1 OR TRUE
    missing OR yes
    s = 'abc' AND i = 5
    s = 'abc' AND i = 5 AND f = 2.5 AND yes AND NOT no
    s = 'x' OR i = 5
    s = 'x' AND i = 5 OR yes
    yes OR s = 'x' AND no
    NOT s = 'x'
    NOT i = 6
    NOT i = 6 AND yes
    NOT (s = 'x' OR i = 6)
    NOT s IS NULL
    (i = 5) = TRUE
    (i = 5) = (s = 'abc')
    (i = 5) <> (s = 'x')
    i > 4 = TRUE
    TRUE = i > 4
    (missing = 1) IS NULL
    ((((i))) = ((5)))
    "s" = 'abc'
    "x-y" = 'dashed'
    "and" = 'word'
    _a$1 = 9
    S IS NULL
    s/**/=/* a comment */'abc'
    i=5AND f=2.5
    s Like 'A%' or S is null AnD i Between 1 and 9
    JMSPriority = 7
    JMSPriority > 4
    JMSDeliveryMode = 'PERSISTENT'
    JMSMessageID = 'ID:1'
    AMQMessageID = 'ID:1'
    JMSCorrelationID = 'c'
    JMSType = 'order'
    JMSType IN ('order', 'invoice')
    JMSTimestamp = 1700000000123
    JMSExpiration = 0
    JMSReplyTo LIKE 'direct:%'
    JMSDestination IS NULL
    JMSRedelivered = FALSE
    NOT JMSRedelivered
    JMSXDeliveryCount = 1
    JMSXGroupID = 'g' AND JMSXGroupSeq = 3
    JMS_QPID_DESTTYPE = 1
    "JMSPriority" = 7
"""

FALSE = r"""
    s = 'ABC'
    s = 'ab'
    s <> 'abc'
    s = 5
    num = 5
    i = '5'
    s <> 5
    i <> '5'
    num <> 5
    yes = 1
    one = TRUE
    yes <> 1
    zero = FALSE
    no = 0
    no <> 0
    yes = 'true'
    yes <> 'TRUE'
    'a' = 1
    TRUE = 1
    'true' = TRUE
    s < 5
    num < 6
    num > 4
    5 > s
    s >= 1
    yes > 0
    no <= 0
    s < s
    s <= s
    yes >= yes
    s BETWEEN 1 AND 9
    s NOT BETWEEN 1 AND 9
    num BETWEEN 1 AND 9
    num NOT BETWEEN 6 AND 9
    yes BETWEEN 0 AND 1
    yes NOT BETWEEN 5 AND 6
    i BETWEEN 9 AND nothing
    i = 6
    i <> 5
    i <> 5.0
    i > 5
    i < 5
    big = 9007199254740992.0
    big <= 9007199254740992.0
    max = 9223372036854775808.0
    f = 2
    5 / 2 = 2
    no
    NOT yes
    NOT TRUE
    FALSE
    s
    i
    one
    FALSE AND missing = 1
    missing = 1 AND FALSE
    NULL AND FALSE
    missing AND no
    yes AND no
    no OR no
    FALSE OR FALSE
    TRUE AND s
    FALSE OR i
    (TRUE AND s) = 'abc'
    i = 6 OR f = 9 OR s = 'x'
    i NOT BETWEEN 1 AND 9
    Country NOT IN ('UK', 'US', 'France')
    Country IN ('france')
    Country IN ('UK', 'US')
    i IN ('5')
    yes IN ('TRUE')
    i LIKE '5'
    yes LIKE '%'
    s LIKE 'A%'
    s LIKE 'ab'
    s LIKE 'bc'
    s LIKE '____'
    s LIKE 'a_'
    s NOT LIKE '%b%'
    s LIKE ''
    empty LIKE '_'
    percent LIKE '100\%_' ESCAPE '\'
    s LIKE 'a\%' ESCAPE '\'
    nothing IS NOT NULL
    missing IS NOT NULL
    s IS NULL
    i = 5 AND s = 'x'
    NOT (i = 5 OR s = 'x')
    (s = 'abc' OR s = 'x') AND no
    (i = 5) = (s = 'x')
    (i = 5) = 'TRUE'
    (i = 5) = 1
    NOT NOT i
    JMSPriority = 4
    JMSDeliveryMode = 2
    JMSDeliveryMode <> 2
    JMSRedelivered
    JMSType = 'Order'
"""

UNKNOWN = r"""
    missing
    nothing
    NOT missing
    NULL
    NOT NULL
    NULL AND NULL
    NULL OR NULL
    TRUE AND missing
    FALSE OR missing
    missing = 1
    missing <> 1
    missing = 'a'
    missing <> 'a'
    missing = TRUE
    missing = missing
    missing <> missing
    nothing = NULL
    s = NULL
    NULL = NULL
    NULL <> 1
    missing < 1
    missing >= 1
    s < missing
    1 > NULL
    missing BETWEEN 1 AND 9
    missing NOT BETWEEN 1 AND 9
    i BETWEEN missing AND 9
    i BETWEEN 1 AND missing
    i NOT BETWEEN 1 AND missing
    missing IN ('a')
    missing NOT IN ('a')
    missing LIKE '%'
    missing NOT LIKE '%'
    NULL LIKE '%'
    table = 'a'
    table <> 1
    octets = 'abc'
    array LIKE '%'
    missing + 1 = 2
    missing * 0 = 0
    -missing = 1
    i / 0 = 1
    i / 0 <> 1
    i % 0 = 0
    1 / 0 > 0
    s + 1 = 1
    s + 1 <> 1
    s * 2 > 0
    num + 1 = 6
    yes + 1 = 2
    yes * 1 = 1
    -s = 1
    -yes < 0
    TRUE AND missing = 1
    missing = 1 AND TRUE
    FALSE OR missing = 1
    missing = 1 OR FALSE
    missing = 1 AND missing = 2
    missing = 1 OR missing = 2
    missing OR NOT missing
    NOT (missing = 1)
    NOT (missing = 1 AND yes)
    (missing = 1) = (missing = 1)
    JMSDestination = 'q'
"""


CASES = [
    *((line, True) for line in TRUE.strip().splitlines()),
    *((line, False) for line in FALSE.strip().splitlines()),
    *((line, None) for line in UNKNOWN.strip().splitlines()),
]


@pytest.mark.parametrize(("condition", "value"), [(line.strip(), value) for line, value in CASES])
def test_a_condition_has_the_value_that_jms_gives_it(condition: str, value: bool | None) -> None:
    assert truth(condition, MESSAGE) is value


@pytest.mark.parametrize("value", [True, False, None])
@pytest.mark.parametrize("other", [True, False, None])
def test_and_and_or_have_three_values(value: bool | None, other: bool | None) -> None:
    values = {"a": value, "b": other}
    conjunction = False if False in (value, other) else None if None in (value, other) else True
    disjunction = True if True in (value, other) else None if None in (value, other) else False
    assert truth("a AND b", values) is conjunction
    assert truth("a OR b", values) is disjunction
    assert truth("NOT (NOT a OR NOT b)", values) is conjunction
    assert truth("(a AND b) = TRUE", values) is conjunction
    assert truth("(a OR b) <> FALSE", values) is disjunction


def test_a_comment_ends_with_its_line() -> None:
    assert truth("i = 5 -- five\n AND s = 'abc'", MESSAGE) is True
    assert truth("i -- five\r = 5", MESSAGE) is True


def test_two_minus_signs_on_the_last_line_are_no_comment() -> None:
    assert truth("8 = i --3", MESSAGE) is True


def test_a_message_without_any_property_has_the_priority_4_and_does_not_expire() -> None:
    bare = view()
    assert truth("JMSPriority = 4 AND JMSExpiration = 0", bare) is True
    for name in ("JMSDeliveryMode", "JMSMessageID", "JMSTimestamp", "JMSType", "JMSCorrelationID", "JMSReplyTo"):
        assert truth(f"{name} IS NULL", bare) is True


def test_an_infinite_number_and_one_that_is_none_are_compared_as_ieee_says() -> None:
    values = {"inf": float("inf"), "nan": float("nan")}
    assert truth("inf > 9e300", values) is True
    assert truth("nan = nan", values) is False
    assert truth("nan <> nan", values) is True
    assert truth("nan < 1 OR nan >= 1", values) is False
    assert truth("inf % 2 IS NULL", values) is True


def test_an_integer_beyond_every_floating_number_has_no_quotient() -> None:
    values = {"x": 1 << 63}
    power = " * ".join(["x"] * 20)
    assert truth(f"{power} / 2 IS NULL", values) is True
    assert truth(f"{power} * 0.5 IS NULL", values) is True
