"""Hashes of every kind and any password: what is made is read again and verifies that password alone."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.auth.password_hash import (
    PLAIN_TEXT,
    RABBITMQ_ALGORITHMS,
    WSO2_DIGESTS,
    Public,
    new_argon2id,
    new_rabbitmq,
    new_wso2,
    parse,
    rabbitmq,
    wso2,
)
from broker.errors import InvalidPasswordHash

PASSWORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
DIGESTS = st.sampled_from([*WSO2_DIGESTS, PLAIN_TEXT])
ALGORITHMS = st.sampled_from(list(RABBITMQ_ALGORITHMS))


@given(PASSWORDS, PASSWORDS, ALGORITHMS, st.binary(min_size=4, max_size=4))
def test_rabbitmqs(password: str, other: str, algorithm: str, salt: bytes) -> None:
    made = new_rabbitmq(password, algorithm, salt)
    assert parse(made.text) == made == rabbitmq(made.value, algorithm)
    assert made.verify(password)
    assert made.verify(other) == (other == password)


@given(PASSWORDS, PASSWORDS, DIGESTS, PASSWORDS)
def test_wso2s(password: str, other: str, digest: str, salt: str) -> None:
    made = new_wso2(password, digest, salt)
    assert parse(made.text) == made == wso2(made.value, salt, digest)
    assert made.verify(password)
    assert made.verify(other) == (other == password)


@given(PASSWORDS, PASSWORDS)
def test_public_ones(password: str, other: str) -> None:
    assert parse(Public(password).text) == Public(password)
    assert parse(Public(password).text).verify(other) == (other == password)


@settings(max_examples=5, deadline=None)
@given(PASSWORDS, st.binary(min_size=16, max_size=16))
def test_argon2ids(password: str, salt: bytes) -> None:
    made = new_argon2id(password, salt)
    assert parse(made.text) == made
    assert parse(made.text).verify(password)


@given(
    st.one_of(
        st.text(max_size=60),
        st.builds(
            "${}${}".format, st.sampled_from(["argon2id", "wso2", *RABBITMQ_ALGORITHMS]), st.text("$aA0=+/%,vmtp")
        ),
    )
)
def test_any_text_is_a_hash_or_an_error(text: str) -> None:
    with suppress(InvalidPasswordHash):
        assert parse(text).text == text
