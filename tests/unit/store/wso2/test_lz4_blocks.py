from __future__ import annotations

import lz4.block
import pytest

from broker.store.wso2.encoding import Undecodable
from broker.store.wso2.lz4_blocks import decompress

PLAIN = b"the same and " * 100
BLOCK = lz4.block.compress(PLAIN, store_size=False)


def test_a_block_becomes_what_it_was() -> None:
    assert decompress(BLOCK, len(PLAIN)) == PLAIN


def test_a_block_that_is_damaged_is_told_apart() -> None:
    with pytest.raises(Undecodable, match="cannot be decompressed"):
        decompress(b"\xff" + BLOCK[1:], len(PLAIN))


def test_a_size_that_cannot_be_takes_no_memory() -> None:
    with pytest.raises(Undecodable, match="never become"):
        decompress(BLOCK, 1 << 62)
