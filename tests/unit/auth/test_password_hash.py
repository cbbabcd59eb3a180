"""The forms of password hashes, and their worked examples."""

from __future__ import annotations

import base64
import hashlib

import pytest

from broker.auth.password_hash import (
    MEMORY_KIB,
    PASSES,
    PLAIN_TEXT,
    RABBITMQ_ALGORITHMS,
    WSO2_DIGESTS,
    Argon2id,
    Generated,
    NoPassword,
    PasswordHash,
    Public,
    RabbitMq,
    Wso2,
    needs_renewal,
    new_argon2id,
    new_rabbitmq,
    new_wso2,
    parse,
    rabbitmq,
    wso2,
)
from broker.errors import InvalidPasswordHash

SALT = bytes(range(16))
SALT_TEXT = "AAECAwQFBgcICQoLDA0ODw=="
ARGON2ID = new_argon2id("Grüße-42", SALT)


def of_every_kind() -> list[PasswordHash]:
    return [
        ARGON2ID,
        *(new_rabbitmq("Grüße-42", algorithm, b"salt") for algorithm in RABBITMQ_ALGORITHMS),
        *(new_wso2("Grüße-42", digest, SALT_TEXT) for digest in (*WSO2_DIGESTS, PLAIN_TEXT)),
        new_wso2("Grüße-42", "SHA-256"),
        new_wso2("Grüße-42", PLAIN_TEXT, "$al% "),
        Public("Grüße-42"),
        Generated(ARGON2ID),
    ]


@pytest.mark.parametrize("stored", of_every_kind(), ids=lambda stored: stored.text.split("$")[1])
def test_a_hash_that_was_written_is_read_and_verifies_its_password_alone(stored: PasswordHash) -> None:
    read = parse(stored.text)
    assert read == stored
    assert read.verify("Grüße-42")
    assert not read.verify("grüße-42")
    assert not read.verify("")


def test_a_new_hash_is_argon2id_with_what_owasp_asks_for() -> None:
    assert ARGON2ID.text.startswith("$argon2id$v=19$m=19456,t=2,p=1$AAECAwQFBgcICQoLDA0ODw$")
    assert Argon2id(ARGON2ID.text, MEMORY_KIB, PASSES) == ARGON2ID


@pytest.mark.parametrize("rest", ["", "x", "$public$x", "$argon2id$x"])
def test_what_is_generated_is_argon2id(rest: str) -> None:
    with pytest.raises(InvalidPasswordHash):
        parse(f"$generated${rest}")


def test_an_argon2id_hash_of_another_maker_is_verified() -> None:
    """The reference implementation's test vector for version 19 of Argon2id: t=2, m=2^8, p=1."""
    text = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"
    assert parse(text).verify("password")
    assert not parse(text).verify("Password")


# WSO2's


@pytest.mark.parametrize(
    ("password", "salt", "value"),
    [
        ("admin", SALT_TEXT, "4MnJjCYpevdkIed46uWi+mk+ZvFjMASJPmrZIWynBuM="),
        ("Grüße-42", SALT_TEXT, "FU5kAu96OlrDzVUNXo1Y7UbUvd+8zse93nEf8Q0nz5Q="),
        ("admin", None, "jGl25bVBBBW96Qi9Te4V37Fnqchz/Eu4qB9vKrRIqRg="),
        ("admin", "", "jGl25bVBBBW96Qi9Te4V37Fnqchz/Eu4qB9vKrRIqRg="),
    ],
)
def test_rows_of_wso2_are_verified_and_made(password: str, salt: str | None, value: str) -> None:
    """Worked examples, on which Java's MessageDigest and Python's hashlib agree."""
    stored = wso2(value, salt, "SHA-256")
    assert stored.verify(password)
    assert not stored.verify(password + " ")
    assert new_wso2(password, "SHA-256", salt or "") == stored
    assert parse(stored.text) == stored


def test_the_text_of_the_salt_counts_not_its_octets() -> None:
    octets = base64.b64decode(SALT_TEXT)
    value = base64.b64encode(hashlib.sha256(b"admin" + octets).digest()).decode()
    assert not wso2(value, SALT_TEXT, "SHA-256").verify("admin")


def test_a_store_without_salted_passwords_ignores_the_salt() -> None:
    value = "jGl25bVBBBW96Qi9Te4V37Fnqchz/Eu4qB9vKrRIqRg="
    assert wso2(value, SALT_TEXT, "SHA-256", store_salted_password=False).verify("admin")
    assert not wso2(value, SALT_TEXT, "SHA-256").verify("admin")


@pytest.mark.parametrize("name", ["SHA", "SHA-1", "SHA1"])
def test_javas_name_sha_is_sha_1(name: str) -> None:
    assert wso2("0DPiKuNIrrVmD8IUCuw1hQxNqZc=", None, name).verify("admin")


def test_md5_and_sha_512_are_verified_as_java_writes_them() -> None:
    assert wso2("ISMvKXpXpadDiUoOSoAfww==", None, "MD5").verify("admin")
    sha512 = base64.b64encode(hashlib.sha512(b"admin").digest()).decode()
    assert wso2(sha512, None, "SHA-512").verify("admin")


def test_plain_text_is_password_and_salt_one_behind_the_other() -> None:
    assert wso2("admin" + SALT_TEXT, SALT_TEXT, PLAIN_TEXT).verify("admin")
    assert wso2("admin", None, PLAIN_TEXT).verify("admin")
    assert not wso2("admin" + SALT_TEXT, SALT_TEXT, PLAIN_TEXT).verify("admin" + SALT_TEXT)


@pytest.mark.parametrize("name", ["", "plain_text", "sha-256", "bcrypt", "PBKDF2"])
def test_a_digest_that_is_not_known_is_an_error(name: str) -> None:
    with pytest.raises(InvalidPasswordHash, match=f"PasswordDigest '{name}' is unknown: there are SHA-256, SHA-512"):
        wso2("jGl25bVBBBW96Qi9Te4V37Fnqchz/Eu4qB9vKrRIqRg=", None, name)
    with pytest.raises(InvalidPasswordHash, match="is unknown"):
        new_wso2("admin", name)


@pytest.mark.parametrize("value", ["", "admin", "{SHA}0DPiKuNIrrVmD8IUCuw1hQxNqZc=", "0DPiKuNIrrVmD8IUCuw1hQxNqZc="])
def test_a_value_that_is_no_sha_256_is_an_error_and_not_shown(value: str) -> None:
    with pytest.raises(InvalidPasswordHash, match="UM_USER_PASSWORD is not") as error:
        wso2(value, None, "SHA-256")
    assert not value or value not in str(error.value)


# RabbitMQ's


def test_hashes_of_rabbitmq_are_verified() -> None:
    """The worked example of RabbitMQ's guide to passwords: `test12`, and what `rabbitmqctl hash_password` prints."""
    stored = rabbitmq("kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR", "rabbit_password_hashing_sha256")
    assert isinstance(stored, RabbitMq)
    assert stored.salt == bytes.fromhex("908dc60a")
    assert stored.verify("test12")
    assert not stored.verify("test13")
    assert stored.value == "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"


@pytest.mark.parametrize(
    ("algorithm", "size"),
    [
        ("rabbit_password_hashing_sha256", 36),
        ("rabbit_password_hashing_sha512", 68),
        ("rabbit_password_hashing_md5", 20),
    ],
)
def test_a_hash_of_rabbitmq_is_a_salt_of_four_octets_and_a_digest(algorithm: str, size: int) -> None:
    stored = new_rabbitmq("secret", algorithm, b"salt")
    assert base64.b64decode(stored.value).startswith(b"salt")
    assert len(base64.b64decode(stored.value)) == size
    with pytest.raises(InvalidPasswordHash, match="behind a salt of 4 octets"):
        rabbitmq(base64.b64encode(bytes(size - 1)).decode(), algorithm)


def test_a_user_of_rabbitmq_without_a_hash_has_no_password() -> None:
    assert rabbitmq("", "rabbit_password_hashing_sha256") == NoPassword()


@pytest.mark.parametrize("algorithm", ["", "rabbit_password_hashing_bcrypt", "sha256"])
def test_an_algorithm_that_is_not_known_is_an_error(algorithm: str) -> None:
    with pytest.raises(InvalidPasswordHash, match=f"hashing_algorithm '{algorithm}' is unknown"):
        rabbitmq("kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR", algorithm)
    with pytest.raises(InvalidPasswordHash, match="is unknown"):
        new_rabbitmq("secret", algorithm, b"salt")


# Texts


def test_no_password_is_right_for_whom_none_is_stored() -> None:
    assert parse("$none$") == NoPassword()
    assert not parse("$none$").verify("")
    assert parse("$none$").text == "$none$"
    with pytest.raises(InvalidPasswordHash, match="behind it"):
        parse("$none$x")
    with pytest.raises(InvalidPasswordHash, match="unknown form"):
        parse("")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW", "unknown form, $2b$…: known ones"),
        ("$argon2i$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$abcd", "unknown form, $argon2i$…"),
        ("secret", "unknown form: known ones begin with $argon2id$"),
        ("{SHA}0DPiKuNIrrVmD8IUCuw1hQxNqZc=", "unknown form: "),
        ("$", "unknown form: "),
        ("argon2id$v=19", "unknown form: "),
    ],
)
def test_another_form_is_an_error_that_does_not_show_the_hash(text: str, shown: str) -> None:
    with pytest.raises(InvalidPasswordHash) as error:
        parse(text)
    assert shown in str(error.value)
    assert "R9h/cIPz" not in str(error.value)
    assert "0DPiKu" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "$argon2id$",
        "$argon2id$v=16$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
        "$argon2id$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
        "$argon2id$v=19$m=256,t=0,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
        "$argon2id$v=19$m=256,t=2,p=1$c29t$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65",
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/!",
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHR$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4\n",
        "$rabbit_password_hashing_sha256$",
        "$rabbit_password_hashing_sha256$kI3G",
        "$rabbit_password_hashing_sha256$not Base64",
        "$wso2$SHA-256$salt",
        "$wso2$SHA-256$salt$%6a",
        "$wso2$PLAIN_TEXT$%73alt$admin",
        "$wso2$PLAIN_TEXT$$%FF",
        "$wso2$PLAIN_TEXT$$a$b",
    ],
)
def test_a_text_that_only_begins_like_a_hash_is_an_error(text: str) -> None:
    with pytest.raises(InvalidPasswordHash):
        parse(text)


@pytest.mark.parametrize("cost", ["m=4194304,t=2,p=1", "m=19456,t=4000000000,p=1", "m=19456,t=2,p=255", "m=8,t=2,p=2"])
def test_a_hash_from_elsewhere_cannot_ask_for_any_amount_of_memory_and_time(cost: str) -> None:
    with pytest.raises(InvalidPasswordHash, match=r"at most m=262144,t=16,p=16"):
        parse(f"$argon2id$v=19${cost}$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4")


def test_what_is_weaker_than_a_new_hash_needs_renewal() -> None:
    assert not needs_renewal(ARGON2ID.text)
    assert not needs_renewal(ARGON2ID.text.replace("t=2", "t=3"))
    assert needs_renewal(ARGON2ID.text.replace("t=2", "t=1"))
    assert needs_renewal(ARGON2ID.text.replace("m=19456", "m=19455"))
    assert needs_renewal(new_rabbitmq("secret", "rabbit_password_hashing_sha512", b"salt").text)
    assert needs_renewal(new_wso2("secret", "SHA-512", SALT_TEXT).text)
    assert not needs_renewal(Public("guest").text)
    assert not needs_renewal("$none$")


def test_a_hash_of_wso2_with_anything_in_its_salt_has_one_text() -> None:
    stored = Wso2(PLAIN_TEXT, "a$b c%", "p$a$b c%")
    assert stored.text == "$wso2$PLAIN_TEXT$a%24b%20c%25$p%24a%24b%20c%25"
    assert parse(stored.text) == stored
    assert stored.verify("p$")
