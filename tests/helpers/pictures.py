"""Image files of every kind that the exported model has to read, and a query about them."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

QUERY = ("red square", "left", "blue disc")


def encoded(kind, mode="RGB", size=(80, 60), seed=0, **options) -> bytes:
    """A picture of blocks, (width, height) pixels."""
    rng = np.random.default_rng(seed)
    blocks = Image.fromarray(rng.integers(0, 256, [5, 6, 3], np.uint8)).resize(size, Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    blocks.convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def rotated() -> bytes:
    """Stored as 80 x 60, with a note to show it turned."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded("JPEG", exif=exif)


FILES = {
    "jpeg": encoded("JPEG"),
    "png": encoded("PNG"),
    "gray": encoded("PNG", "L"),
    "gray jpeg": encoded("JPEG", "L"),
    "cmyk": encoded("JPEG", "CMYK"),
    "rgba": encoded("PNG", "RGBA"),
    "palette": encoded("PNG", "P"),
    "exif": rotated(),
    "one pixel": encoded("PNG", size=(1, 1)),
    "narrow": encoded("JPEG", size=(41, 333)),
    "large": encoded("JPEG", size=(901, 603)),
    "progressive": encoded("JPEG", progressive=True),
}


def png16(height: int, width: int) -> bytes:
    """A black RGBA PNG of 16 bits a channel: few bytes for many pixels."""
    rows, row = zlib.compressobj(1), b"\0" + bytes(8 * width)
    data = b"".join([rows.compress(row) for _ in range(height)] + [rows.flush()])
    return png_of(struct.pack(">IIBBBBB", width, height, 16, 6, 0, 0, 0), data)


def png_of(header: bytes, data: bytes) -> bytes:
    """A PNG of these parts, whatever they say."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
