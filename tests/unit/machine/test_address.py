from __future__ import annotations

import pytest

from broker.machine.address import bare_host, endpoint, network, url_host


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ("192.0.2.1", "192.0.2.1:5672"),
        ("broker.example", "broker.example:5672"),
        ("::1", "[::1]:5672"),
        ("fe80::1%eth0", "[fe80::1%eth0]:5672"),
        ("::", "[::]:5672"),
    ],
)
def test_an_ipv6_address_stands_in_brackets_before_its_port(host: str, text: str) -> None:
    assert endpoint(host, 5672) == text
    assert bare_host(url_host(host)) == host
    assert bare_host(host) == host


def test_one_machine_may_have_a_whole_network_of_ipv6_addresses_and_one_of_ipv4() -> None:
    assert network("192.0.2.1") == network("::ffff:192.0.2.1") == "192.0.2.1"
    assert network("2001:db8::1") == network("2001:db8::ffff:1") != network("2001:db8:0:1::1")
    assert network("fe80::1%eth0") == network("fe80::2%eth1")


@pytest.mark.parametrize(
    "text",
    ["", " ", "a b", "[::1", "::1]", "[]", "[localhost]", "[127.0.0.1]", "127.0.0.1:5672", "[::1]:5672", "h:1", "a/b"],
)
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a host name or address"):
        bare_host(text)
