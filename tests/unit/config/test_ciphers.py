"""Cipher suites by the names that OpenSSL and Java have for them; invariant I89."""

from __future__ import annotations

import ssl

import pytest

from broker.config.ciphers import cipher_list, openssl_name


def suites(*names: str) -> list[str]:
    """Return the suites of TLS 1.2 that a server then has."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_ciphers(cipher_list(names))
    return [suite["name"] for suite in context.get_ciphers() if suite["protocol"] != "TLSv1.3"]


@pytest.mark.parametrize(
    ("name", "suite"),
    [
        ("ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
        ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
        ("TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384", "ECDHE-ECDSA-AES256-SHA384"),
        ("TLS_DHE_RSA_WITH_AES_256_GCM_SHA384", "DHE-RSA-AES256-GCM-SHA384"),
        ("TLS_RSA_WITH_AES_128_CBC_SHA", "AES128-SHA"),
        ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305"),
        ("TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8", "ECDHE-ECDSA-AES128-CCM8"),
    ],
)
def test_a_suite_has_a_name_of_openssl_and_one_of_java(name: str, suite: str) -> None:
    assert suites(name) == [suite]


def test_several_suites_keep_their_order() -> None:
    names = ["TLS_RSA_WITH_AES_128_CBC_SHA", "ECDHE-RSA-AES128-GCM-SHA256", "TLS_EMPTY_RENEGOTIATION_INFO_SCSV"]
    assert suites(*names) == ["AES128-SHA", "ECDHE-RSA-AES128-GCM-SHA256"]


@pytest.mark.parametrize("names", ["HIGH", "ALL", "ALL:!AES128", "ECDHE+AESGCM", "DEFAULT", "HIGH -AES128;+AES256"])
def test_groups_and_operators_of_openssl_are_served_without_unsafe_suites(names: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_ciphers(cipher_list([names]))
    assert context.get_ciphers()
    assert [
        suite for suite in context.get_ciphers() if suite["auth"] == "auth-null" or not suite["strength_bits"]
    ] == []


@pytest.mark.parametrize(
    "name",
    [
        "aNULL",
        "eNULL",
        "NULL",
        "COMPLEMENTOFALL",
        "AECDH",
        "ADH-AES128-SHA256",
        "NULL-SHA256",
        "TLS_RSA_WITH_NULL_SHA256",
        "TLS_DH_anon_WITH_AES_128_CBC_SHA256",
        "TLS_ECDH_anon_WITH_AES_128_CBC_SHA",
        "HIGH:aNULL",
    ],
)
def test_a_suite_without_authentication_or_encryption_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="does not authenticate the server or does not encrypt"):
        cipher_list(["ECDHE-RSA-AES128-GCM-SHA256", name])


@pytest.mark.parametrize("name", ["foo", "!foo", "ALL:@SECLEVEL=0", "@SECLEVEL=0", "TLS_FOO_WITH_BAR", "ä", "a\0b"])
def test_a_name_that_nobody_has_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no cipher suite of OpenSSL"):
        cipher_list(["ECDHE-RSA-AES128-GCM-SHA256", name])


def test_suites_of_tls_1_3_cannot_be_chosen() -> None:
    with pytest.raises(ValueError, match=r"'TLS_AES_128_GCM_SHA256' is a cipher suite of TLS 1\.3"):
        cipher_list(["ECDHE-RSA-AES128-GCM-SHA256", "TLS_AES_128_GCM_SHA256"])


@pytest.mark.parametrize("names", [["!aNULL"], ["ECDHE-RSA-AES128-GCM-SHA256", "-ALL"], []])
def test_a_list_that_leaves_nothing_is_refused(names: list[str]) -> None:
    with pytest.raises(ValueError, match=r"leaves no cipher suite for TLS 1\.2"):
        cipher_list(names)


def test_other_names_stay_as_they_are() -> None:
    assert openssl_name("ECDHE+AESGCM") == "ECDHE+AESGCM"
