"""Gzip and zlib (gRPC's `deflate`) with a bound: what unpacks to more is refused, and never unpacked."""

from __future__ import annotations

import zlib

from export.serving.limits import Limits
from export.serving.status import Status

# The two bytes with which they begin, zlib by its level. No JSON begins so, and as protobuf they would be field 3 of a
# wire type that there is not, and field 15, which no request has.
MAGIC = (b"\x1f\x8b", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_EITHER = 32 + zlib.MAX_WBITS


def gunzip(packed: bytes, limits: Limits) -> bytes:
    """The content of packed data.

    Raises:
      Status: INVALID_ARGUMENT: it is damaged; RESOURCE_EXHAUSTED: it is too large.
    """
    unpacker = zlib.decompressobj(_EITHER)
    try:
        content = unpacker.decompress(packed, limits.message_bytes + 1)
    except zlib.error as error:
        raise Status("INVALID_ARGUMENT", f"the packed data is damaged: {error}") from error
    if len(content) > limits.message_bytes:
        raise Status("RESOURCE_EXHAUSTED", f"the message has more than {limits.message_bytes} bytes when unpacked")
    if not unpacker.eof:
        raise Status("INVALID_ARGUMENT", "the packed data ends too early")
    return content
