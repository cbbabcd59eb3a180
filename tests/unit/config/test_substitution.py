"""What a text in a file becomes before it is a value."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.config.substitution import secret_from_file, substitute
from broker.errors import ConfigError


def test_placeholders_are_replaced_wherever_they_stand() -> None:
    environ = {"HOST": "db", "user.name": "me", "CARBON_HOME": "/opt"}
    text = "${carbon.home}/x jdbc://${env:HOST}/${sys:user.name}"
    assert substitute(text, environ) == "/opt/x jdbc://db/me"


def test_a_java_property_may_be_spelled_as_a_shell_does() -> None:
    assert substitute("${sys:user.name}", {"USER_NAME": "me"}) == "me"


def test_what_a_variable_contains_is_not_looked_at_again() -> None:
    assert substitute("${env:A}", {"A": "${env:B}"}) == "${env:B}"


def test_a_variable_that_is_not_set_is_named() -> None:
    with pytest.raises(ValueError, match=r"environment variable 'A', which '\${env:A}' asks for, is not set"):
        substitute("${env:A}", {})


@pytest.mark.parametrize("text", ["${env:}", "${file:x}", "${}"])
def test_an_unknown_placeholder_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="unknown placeholder"):
        substitute(text, {})


def test_a_secret_file_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("password\n")
    file.chmod(0o600)
    assert secret_from_file("file:secret", tmp_path) == ("password", None)
    file.chmod(0o644)
    assert secret_from_file(f"file://{file}", tmp_path) == (
        "password",
        f"secret file '{file}' is readable by every user",
    )


@pytest.mark.parametrize(
    ("content", "complaint"), [(None, "cannot be read"), (b"\xff", "is not UTF-8"), (b"x" * 65_537, "is larger than")]
)
def test_a_secret_file_that_cannot_be_a_secret_is_refused(
    tmp_path: Path, content: bytes | None, complaint: str
) -> None:
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    with pytest.raises(ValueError, match=complaint):
        secret_from_file("file:secret", tmp_path)


def test_a_secret_that_looks_like_a_placeholder_is_not_shown(load_files):
    with pytest.raises(ConfigError, match=r"a secret with '\$\{' in it has an unknown placeholder") as refused:
        load_files({"user-mgt.xml": "<AdminUser><Password>${canary}</Password></AdminUser>"})
    assert "canary" not in str(refused.value)
