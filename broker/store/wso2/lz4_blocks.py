"""Bodies that WSO2's broker has compressed: one block of LZ4, whose size is known (andes §2.3)."""

from __future__ import annotations

from typing import Final

from broker.errors import ConfigError
from broker.store.wso2.encoding import Undecodable

_MOST: Final = 255
"""How many octets one octet of a block becomes at most."""


def decompress(octets: bytes, size: int) -> bytes:
    """Return the `size` octets that were compressed.

    Raises `Undecodable`, and `ConfigError` when the package that can do it is not installed.
    """
    if size > _MOST * len(octets):
        raise Undecodable(f"its body cannot be decompressed: {len(octets)} octets never become {size}")
    try:
        from lz4.block import LZ4BlockError
        from lz4.block import decompress as decompress_block
    except ImportError as error:
        raise ConfigError(
            f"there are compressed messages, which need the package lz4 ({error}): pip install 'cordillera[wso2]'"
        ) from error
    try:
        plain: bytes = decompress_block(octets, uncompressed_size=size)
    except LZ4BlockError as error:
        raise Undecodable(f"its body cannot be decompressed ({error})") from error
    return plain
