"""What `authentication/oauth2` of `broker.xml` makes of logins, and what stops the start."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker.auth.access import OpenAccess
from broker.auth.identity import Identity, Refused
from broker.auth.scopes import GrantedAccess
from broker.auth.tokens import TokenLogins
from broker.clock import SystemClock
from broker.config.authentication import OAuth2
from broker.config.loading import load
from broker.errors import ConfigError
from broker.node.token_logins import token_logins
from tests.support.logins import public_user, users_of
from tests.support.tokens import claims_of, ec_key, key_set, private_pem, public_pem, rsa_key, signed

Settings = Callable[[str], OAuth2]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Reads elements of `oauth2`; `{}` in them is a folder with keys."""
    (tmp_path / "set.json").write_bytes(key_set(ec_key()))
    (tmp_path / "rsa.pem").write_bytes(public_pem(rsa_key()))
    (tmp_path / "private.pem").write_bytes(private_pem(rsa_key()))

    def read(elements: str) -> OAuth2:
        text = f'<oauth2 enabled="true"><resourceServerId>mq</resourceServerId>{elements.format(tmp_path)}</oauth2>'
        (tmp_path / "broker.xml").write_text(f"<broker><authentication>{text}</authentication></broker>")
        return load(tmp_path, {}).config.authentication.oauth2

    return read


def token(key: Any, algorithm: str, **claims: Any) -> str:
    return signed(claims_of(now=SystemClock().wall_ms() / 1000, **claims), key, algorithm)


def log_in(settings: OAuth2, secret: str) -> Identity | None:
    with_tokens = token_logins(settings)
    assert with_tokens is not None
    logins, access = with_tokens(users_of(public_user("guest", "guest")), OpenAccess())
    assert isinstance(access, GrantedAccess)
    assert isinstance(logins, TokenLogins)
    answer = logins.log_in("", secret, address="127.0.0.1", is_loopback=True)
    assert answer is None or isinstance(answer, Identity | Refused)
    return answer if isinstance(answer, Identity) else None


def test_who_does_not_ask_for_tokens_has_none() -> None:
    assert token_logins(OAuth2()) is None


def test_every_element_has_its_effect(settings: Settings) -> None:
    found = settings(
        """<scopePrefix>api:</scopePrefix><additionalScopesKey>roles</additionalScopesKey><issuer>me</issuer>
        <preferredUsernameClaims>name</preferredUsernameClaims><algorithms>RS256</algorithms><clockSkew>300</clockSkew>
        <signingKey id="rsa" location="{}/rsa.pem"/><scopeAlias name="all" scopes="api:read:*/* api:write:*/*"/>"""
    )
    now = SystemClock().wall_ms() / 1000
    right: dict[str, Any] = {"aud": "mq", "iss": "me", "name": "Ann", "roles": ["all"], "exp": now - 200}
    identity = log_in(found, token(rsa_key(), "RS256", **right))
    assert identity is not None
    assert identity.user == "Ann"
    assert identity.grants is not None
    identity.grants.require("Ann", "/")
    for wrong in ({"aud": "rabbitmq"}, {"iss": "you"}, {"exp": now - 301}):
        assert log_in(found, token(rsa_key(), "RS256", **{**right, **wrong})) is None
    assert log_in(found, token(rsa_key(), "RS512", **right)) is None


def test_the_audience_need_not_be_verified(settings: Settings) -> None:
    found = settings('<verifyAud>false</verifyAud><signingKey id="rsa" location="{}/rsa.pem"/>')
    assert log_in(found, token(rsa_key(), "RS256", aud=None)) == Identity("ann", True)


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ("", "jwksUrl: name a jwksUrl, a jwksFile or a signingKey, by which tokens are verified"),
        ("<jwksUrl>http://issuer/certs</jwksUrl>", "is no address that begins with https:// (http:// is for this"),
        ("<jwksUrl>file:///etc/passwd</jwksUrl>", "is no address that begins with https://"),
        ("<jwksUrl>https:///certs</jwksUrl>", "is no address that begins with https://"),
        ("<jwksUrl>https://i/c</jwksUrl><jwksFile>x</jwksFile>", "there is a jwksUrl already; name one of them"),
        ('<signingKey id="x"/>', "name the PEM file of the key"),
        ('<scopeAlias scopes="x"/><jwksUrl>https://i/c</jwksUrl>', "name the scope that stands for others"),
        ("<algorithms>RS256,HS256</algorithms>", "'HS256' is not one of RS256"),
        ("<algorithms>none</algorithms>", "'none' is not one of RS256"),
        ("<clockSkew>301</clockSkew>", "'301' is not a number between 0 and 300"),
        ('<signingKey location="{}/none.pem"/>', "authentication/oauth2/signingKey: {}/none.pem: No such file"),
        ('<signingKey location="{}/private.pem"/>', "/private.pem: it holds a private key; give the public one"),
        ("<jwksFile>{}/rsa.pem</jwksFile>", "authentication/oauth2/jwksFile: {}/rsa.pem: it is no JSON Web Key Set"),
        (
            "<jwksUrl>https://issuer/certs</jwksUrl><jwksCertificates>{}/none.pem</jwksCertificates>",
            "authentication/oauth2/jwksCertificates: {}/none.pem: No such file or directory",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_used_stops_the_start(settings: Settings, tmp_path: Path, elements: str, reason: str) -> None:
    with pytest.raises(ConfigError) as wrong:
        token_logins(settings(elements))
    assert reason.format(tmp_path) in str(wrong.value)


def test_a_key_without_an_id_is_for_tokens_that_name_none(settings: Settings) -> None:
    found = settings('<signingKey location="{}/rsa.pem"/>')
    assert log_in(found, token(rsa_key(), "RS256", aud="mq")) is None
    nameless = signed(claims_of(now=SystemClock().wall_ms() / 1000, aud="mq"), rsa_key(), "RS256", kid="")
    assert log_in(found, nameless) == Identity("ann", True)


def test_a_broker_without_a_name_is_told_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "broker.xml").write_text('<broker><authentication><oauth2 enabled="true"/></authentication></broker>')
    with pytest.raises(ConfigError, match="name this broker as tokens name it, for example rabbitmq"):
        load(tmp_path, {})


def test_without_the_extra_one_line_says_what_to_install(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "broker.auth.token_signatures")
    monkeypatch.setitem(sys.modules, "joserfc.errors", None)
    with pytest.raises(ConfigError, match=r"needs the package joserfc .*: pip install 'cordillera\[oauth\]'") as wrong:
        token_logins(settings("<jwksFile>{}/set.json</jwksFile>"))
    assert "\n" not in str(wrong.value)
