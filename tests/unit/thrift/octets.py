"""Messages by hand, as andes §3.3 says they are, and an exchange of them."""

from __future__ import annotations

from tests.unit.thrift.network import RawPeer


def message(kind: int, name: str, sequence_id: int, body: str) -> bytes:
    """A message by hand (andes §3.3)."""
    head = bytes.fromhex(f"800100{kind:02x}") + len(name).to_bytes(4, "big") + name.encode()
    return head + sequence_id.to_bytes(4, "big") + bytes.fromhex(body)


ORDERS, ALICE_HEX, BOB_HEX = "00000006" + b"orders".hex(), "00000005" + b"alice".hex(), "00000003" + b"bob".hex()
# queueName, nodeId
GET_SLOT = message(1, "getSlotInfo", 2, f"0b 0001 {ORDERS} 0b 0002 {BOB_HEX} 00")
NO_SLOT = message(2, "getSlotInfo", 2, "0c 0000 0a 0002 0000000000000000 0a 0003 0000000000000000 02 0006 00 00 00")
A_SLOT = message(
    2,
    "getSlotInfo",
    2,
    f"0c 0000 0a 0002 0000000000000064 0a 0003 00000000000000c7 0b 0004 {ORDERS} 0b 0005 {BOB_HEX} 02 0006 00 00 00",
)
# queueName, nodeId, startMessageId, endMessageId, localSafeZone
SUBMIT = message(
    1,
    "updateMessageId",
    3,
    f"0b 0001 {ORDERS} 0b 0002 {ALICE_HEX}"
    "0a 0003 0000000000000064 0a 0004 00000000000000c7 0a 0005 0000000000000063 00",
)


def refused(name: str, sequence_id: int) -> bytes:
    """What Andes answers when anything goes wrong: type 6, INTERNAL_ERROR."""
    text = f"Internal error processing {name}".encode()
    return message(3, name, sequence_id, f"0b 0001 {len(text):08x} {text.hex()} 08 0002 00000006 00")


async def exchange(peer: RawPeer, *pairs: tuple[bytes, bytes]) -> None:
    for call, answer in pairs:
        peer.send(call)
        assert (await peer.receive(len(answer))).hex(" ") == answer.hex(" ")
