"""The serialized list of dtx.recover-ok, against streams as Java writes them."""

from __future__ import annotations

from broker.amqp.java_xids import LARGEST_HEAD, LARGEST_XID, serialized
from broker.ports.branches import Xid

EMPTY = bytes.fromhex(
    "aced0005737200136a6176612e7574696c2e41727261794c6973747881d21d99c7619d03000149000473697a6578700000000077040000000078"
)

ONE = bytes.fromhex(
    "aced0005"  # magic and version
    "73720013" + b"java.util.ArrayList".hex() + "7881d21d99c7619d03000149000473697a657870"
    "00000001" "770400000001"
    "7372001a" + b"org.wso2.andes.dtx.XidImpl".hex() + "a2d79ea219d8a99d" "02" "0003"
    "490009" + b"_formatID".hex() + "5b0010" + b"_branchQualifier".hex() + "7400025b42"
    "5b0014" + b"_globalTransactionID".hex() + "71007e0003" "7870"
    "00001234"
    "757200025b42acf317f8060854e002000078700000000262" "71"  # the branch qualifier "bq"
    "7571007e00050000000367" "7472"  # the global transaction id "gtr"
    "78"
)  # fmt: skip


def test_an_empty_list_is_what_java_writes() -> None:
    assert serialized([]) == EMPTY


def test_a_branch_is_an_object_of_the_clients_class() -> None:
    assert serialized([Xid(0x1234, b"gtr", b"bq")]) == ONE


def test_further_branches_refer_to_the_classes_of_the_first() -> None:
    two = serialized([Xid(0x1234, b"gtr", b"bq"), Xid(7, b"x", b"")])
    head = ONE[:-1].replace(bytes.fromhex("00000001770400000001"), bytes.fromhex("00000002770400000002"))
    tail = bytes.fromhex("7371007e0002000000077571007e0005000000007571007e0005000000017878")
    assert two == head + tail


def test_no_list_is_larger_than_its_members_may_be() -> None:
    largest = [Xid(0xFFFF, bytes(64), bytes(64))] * 50
    assert len(serialized(largest)) <= LARGEST_HEAD + 50 * LARGEST_XID
