"""The size of a picture as its header tells it, without TensorFlow: before a request may cost anything.

Where `decoding.header_size` reads a size inside the graph, this reads the same. It does not look into the tables of a
JPEG, so it reads sizes of a few damaged files that the graph refuses.
"""

from __future__ import annotations

import re

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_MARKER = re.compile(rb"\xff[\x01-\xfe]")  # After a segment, libjpeg skips what is none.
_START_OF_SCAN = 0xDA
# The frames that libjpeg decodes: baseline, extended and progressive, with Huffman's or arithmetic coding.
_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # Markers without a segment.
_SEGMENTS = frozenset({0xC4, 0xCC, 0xDB, 0xDC, 0xDD, *range(0xE0, 0xF0), 0xFE})  # Those that tell nothing of the size.
_MOST_SEGMENTS = 4096  # A profile and a thumbnail take some hundreds; more would only cost time.
_LONGEST_SIDE = 65500  # Of libjpeg.


def pixels(file: bytes) -> tuple[int, int] | None:
    """(height, width) of a JPEG, PNG or WebP file.

    Returns:
      None where the header is of no such file or tells no size: then the graph refuses it, too, but for a JPEG of more
      than 4,096 segments.
    """
    if file.startswith(_JPEG):
        return _jpeg(file)
    if file.startswith(_PNG):
        size = int.from_bytes(file[20:24], "big"), int.from_bytes(file[16:20], "big")
        return size if len(file) >= 24 and min(size) > 0 else None
    if file.startswith(b"RIFF") and file[8:12] == b"WEBP":
        return _webp(file[:32])
    return None


def _jpeg(file: bytes) -> tuple[int, int] | None:
    """The size in the frame header, if a scan follows it."""
    size, start = None, 2
    for _ in range(_MOST_SEGMENTS):
        found = _MARKER.search(file, start)
        if found is None:
            return None
        marker, start = file[found.end() - 1], found.end()
        if marker in _BARE:
            continue
        length = int.from_bytes(file[start : start + 2], "big")
        if start + max(length, 2) > len(file):
            return None
        if marker == _START_OF_SCAN:
            return size
        if marker in _FRAMES and size is None:
            size = _frame(file[start : start + length])
            if size is None:
                return None
        elif marker not in _SEGMENTS:
            return None
        start += max(length, 2)
    return None


def _frame(segment: bytes) -> tuple[int, int] | None:
    """Length, precision, height, width, number of components, and three bytes for each of these."""
    if len(segment) < 8 or segment[2] != 8 or not segment[7] or len(segment) != 8 + 3 * segment[7]:
        return None
    size = int.from_bytes(segment[3:5], "big"), int.from_bytes(segment[5:7], "big")
    return size if 0 < min(size) and max(size) <= _LONGEST_SIDE else None


def _webp(start: bytes) -> tuple[int, int] | None:
    """The three kinds of WebP (RFC 9649, section 2): extended, lossless, lossy."""

    def number(first: int, stop: int) -> int:
        return int.from_bytes(start[first:stop], "little")

    kind = start[12:16]
    if kind == b"VP8X" and len(start) >= 30:
        return number(27, 30) + 1, number(24, 27) + 1
    if kind == b"VP8L" and len(start) >= 25:
        return (number(21, 25) >> 14) % 2**14 + 1, number(21, 25) % 2**14 + 1
    if kind == b"VP8 " and len(start) >= 30:
        size = number(28, 30) % 2**14, number(26, 28) % 2**14
        return size if min(size) > 0 else None
    return None
