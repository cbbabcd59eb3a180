import pytest

from benchmarks.address import Address
from benchmarks.options import parse
from benchmarks.session import split_cores

CASES = {"headline": "the usual", "memory": "the small"}


def test_without_arguments_the_headline_of_our_own_broker_is_measured():
    options = parse([], CASES)

    assert options.cases == ("headline",)
    assert options.subject is None
    assert options.rounds == 3


def test_all_means_every_case():
    assert parse(["all"], CASES).cases == ("headline", "memory")


def test_an_unknown_case_is_refused_by_name(capsys):
    with pytest.raises(SystemExit):
        parse(["nonsense"], CASES)

    assert "no case 'nonsense'" in capsys.readouterr().err


def test_a_peer_may_have_a_name_and_a_process():
    options = parse(["--peer", "rabbit=amqp://a:b@host:5673/x", "--peer-pid", "7"], CASES)

    assert options.peers[0].name == "rabbit"
    assert options.peers[0].address == Address("host", 5673, "a", "b", "x")
    assert options.peers[0].pid == 7


def test_a_peer_without_a_scheme_is_refused(capsys):
    with pytest.raises(SystemExit):
        parse(["--peer", "localhost:5672"], CASES)

    assert "amqp://user:password@host:port/vhost" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["amqp://127.0.0.1:5673", "amqp://127.0.0.1:5673/", "amqp://127.0.0.1:5673/%2F"])
def test_the_default_virtual_host_may_be_written_in_three_ways(url):
    assert Address.parse(url).vhost == "/"


def test_broker_and_load_get_a_core_each():
    assert split_cores({0, 1, 2}, pin=True) == ({0}, {1})


@pytest.mark.parametrize(("available", "pin"), [({0}, True), ({0, 1}, False)])
def test_one_core_or_no_pin_leaves_the_cores_to_the_system(available, pin):
    assert split_cores(available, pin) == (set(), set())
