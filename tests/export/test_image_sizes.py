"""The size in a picture's header, as the server reads it and as the graph does."""

import io
import random
import struct
import time

import numpy as np
import pytest
import tensorflow as tf
from pictures import FILES, encoded
from PIL import Image

from export.saved_model import decoding, image_sizes

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def graph_size():
    """What the graph reads: (height, width), None where it refuses the file."""

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
    def size(file):
        return decoding._or_else(file, decoding.header_size, tf.zeros([2], tf.int64))

    def read(file):
        found = tuple(size(tf.constant(file)).numpy().tolist())
        return found if min(found) > 0 else None

    return read


def webp(**options):
    return encoded("WEBP", **options)


WHOLE = {
    **FILES,
    "webp": webp(quality=80),
    "lossless webp": webp(lossless=True),
    "extended webp": webp(quality=80, exif=b"Exif\0\0"),
    "transparent webp": encoded("WEBP", "RGBA", lossless=True),
    "interlaced profile": encoded("JPEG", size=(123, 45), icc_profile=bytes(150_000), comment=b"\xff\xc0\xff\xda"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_the_size_is_that_of_the_picture_and_of_the_graph(graph_size, name):
    with Image.open(io.BytesIO(WHOLE[name])) as picture:
        expected = picture.size[::-1]
    assert image_sizes.pixels(WHOLE[name]) == graph_size(WHOLE[name]) == expected


@pytest.mark.parametrize("name", ["jpeg", "progressive", "exif", "png", "webp", "lossless webp", "extended webp"])
def test_a_truncated_header_is_refused_where_the_graph_refuses_it(graph_size, name):
    file = WHOLE[name]
    stops = {*range(0, 40), *range(40, min(len(file), 900), 7), *range(600, 640)}
    for stop in stops:
        assert image_sizes.pixels(file[:stop]) == graph_size(file[:stop]), stop


def after_first_segment(inserted):
    file = FILES["jpeg"]
    stop = 4 + int.from_bytes(file[4:6], "big")
    return file[:stop] + inserted + file[stop:]


def with_frame(height=60, width=80, marker=0xC0, precision=8, components=3, extra=0):
    file = FILES["jpeg"]
    start = file.index(b"\xff\xc0")
    frame = struct.pack(">BBHBHHB", 0xFF, marker, 8 + 3 * components + extra, precision, height, width, components)
    parts = b"".join(bytes([k + 1, 0x11, 0]) for k in range(components))
    return file[:start] + frame + parts + bytes(extra) + file[start + 19 :]


@pytest.mark.parametrize(
    "file",
    [
        after_first_segment(b"abc"),
        after_first_segment(b"\xff\x00\xff\xff\xff"),
        after_first_segment(b"\xff\xd0\xff\x01"),
        after_first_segment(b"\xff\xd8"),
        after_first_segment(b"\xff\xd9"),
        after_first_segment(b"\xff\xfe\x00\x00"),
        after_first_segment(b"\xff\xfe\x00\x01"),
        after_first_segment(b"\xff\xfe\x00\x06\xff\xc0\xff\xda"),
        after_first_segment(b"\xff\xfe\xff\xff"),
        after_first_segment(b"\xff\xda\x00\x02"),
        after_first_segment(b"\xff\x02\x00\x02"),
        *(with_frame(marker=marker) for marker in range(0xC0, 0xD0)),
        with_frame(0, 80),
        with_frame(60, 0),
        with_frame(65535, 10),
        with_frame(65500, 65500),
        with_frame(precision=12),
        with_frame(extra=3),
        with_frame(components=0),
        b"\xff\xd8\xff" + bytes(100),
        b"\xff" * 100_000,
        b"\xff\xd8" + b"\xff" * 100_000,
        PNG_SIGNATURE + b"\0\0\0\rIHDR" + struct.pack(">II", 2**32 - 1, 2**32 - 1) + bytes(9),
        PNG_SIGNATURE + b"\0\0\0\rIHDR" + struct.pack(">II", 0, 5) + bytes(9),
        b"RIFF\0\0\0\0WEBPVP8 " + bytes(20),
        b"RIFF\0\0\0\0WEBPVP9 " + bytes(20),
        b"GIF89a" + bytes(20),
        b"",
    ],
)
def test_files_made_to_deceive_have_the_size_of_the_graph(graph_size, file):
    assert image_sizes.pixels(file) == graph_size(file)


def test_a_size_of_the_graph_is_never_another_one(graph_size):
    """Bytes of headers are changed at random: a size that the graph goes by must be the one that was counted."""
    rng = random.Random(0)
    names = ["jpeg", "progressive", "exif", "png", "webp", "lossless webp", "extended webp"]
    read = 0
    for number in range(1500):
        file = bytearray(WHOLE[names[number % len(names)]])
        for _ in range(rng.randint(1, 3)):
            file[rng.randrange(3, min(len(file), 640))] = rng.choice([0, 1, 0xC0, 0xDA, 0xFF, rng.randrange(256)])
        expected, found = graph_size(bytes(file)), image_sizes.pixels(bytes(file))
        assert found == expected if expected else True, bytes(file[:700])
        read += expected is not None
    assert read > 300


def test_no_bytes_take_long_or_raise():
    rng = np.random.default_rng(0)
    for start in (b"", b"\xff\xd8\xff", PNG_SIGNATURE, b"RIFF\0\0\0\0WEBPVP8X"):
        for length in (0, 1, 3, 7, 20, 1000):
            image_sizes.pixels(start + rng.bytes(length))
    begin = time.process_time()
    for flood in (b"\xff\xd0", b"\xff\x00", b"\xff\xff", b"ab", b"\xff\xfe\x00\x02"):
        assert image_sizes.pixels(b"\xff\xd8\xff" + flood * 2**22) is None
    assert time.process_time() - begin < 2
    begin = time.process_time()
    for _ in range(1000):
        image_sizes.pixels(FILES["exif"])
    assert (time.process_time() - begin) / 1000 < 200e-6
