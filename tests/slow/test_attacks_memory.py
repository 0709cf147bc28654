"""Requests that want memory: whatever comes, the server stays below 2 GiB, healthy, and right towards others."""

import gzip
import json

import grpc
import numpy as np
import pytest
from attacks import at_once, attack, predict, request_of
from hostile_http import connect, post, read_responses, status_of
from pictures import FILES, QUERY, png16
from server_process import QUERIES, refer_inputs

pytestmark = [pytest.mark.process, pytest.mark.timeout(900)]
MIB = 1 << 20
NO_MORE = {"RESOURCE_EXHAUSTED", "INVALID_ARGUMENT", "OK"}


def large_image(size: int) -> bytes:
    """A request whose one image is so many zeros."""
    return request_of({"image": np.array([bytes(size)], object)}, signature="encode").SerializeToString()


def test_gzip_bombs_over_grpc(server, expected, tmp_path):
    within, beyond = large_image(30 * MIB), large_image(400 * MIB)
    with attack(server, "64 gRPC messages of 30 MiB in 30 KB of gzip", expected, tmp_path) as report:
        at_once(report, lambda _: predict(server.address, within, compression=grpc.Compression.Gzip), 64)
    assert set(report.codes) <= NO_MORE
    with attack(server, "16 gRPC messages of 400 MiB in 400 KB of gzip", expected, tmp_path) as report:
        packed = gzip.compress(beyond, 1)
        at_once(report, lambda _: predict(server.address, packed), 16)
    assert set(report.codes) == {"RESOURCE_EXHAUSTED"}


def test_gzip_bombs_over_rest(server, expected, tmp_path):
    within = gzip.compress(b'{"inputs":"' + b" " * (30 * MIB) + b'"}')
    beyond = gzip.compress(bytes(400 * MIB), 1)
    for name, body, codes in (
        ("64 REST bodies of 30 MiB in 30 KB of gzip", within, {"400", "429"}),
        ("64 REST bodies of 400 MiB in 1.8 MB of gzip", beyond, {"429"}),
    ):
        with attack(server, name, expected, tmp_path) as report:
            at_once(report, lambda _, body=body: status_of(server.rest_port, body, "Content-Encoding: gzip"), 64)
        assert set(report.codes) <= codes


def test_json_of_many_small_values(server, expected, tmp_path):
    def brackets(count):
        return b'{"inputs":[' + b"[]," * count + b"[]]}"

    numbers = json.dumps({"signature_name": "encode", "inputs": [[1] * 1000] * 900}).encode()
    for name, body, codes in (
        ("32 JSON bodies of 60 MiB of []", brackets(20 * MIB), {"429"}),
        ("32 JSON bodies of 30 MiB of []", brackets(10 * MIB), {"429"}),
        ("32 JSON bodies of 999,990 []", brackets(999_990), {"400", "429"}),
        ("32 JSON bodies of 900,000 numbers", numbers, {"400", "429"}),
        ("32 JSON bodies of one text of 30 MB", b'{"inputs":"' + b"a" * 30_000_000 + b'"}', {"400", "429"}),
    ):
        with attack(server, name, expected, tmp_path) as report:
            at_once(report, lambda _, body=body: status_of(server.rest_port, body), 32)
        assert set(report.codes) <= codes


def test_a_chunked_body_without_an_end(server, expected, tmp_path):
    def endless(_):
        with connect(server.rest_port) as connection:
            connection.sendall(post(None, "Transfer-Encoding: chunked"))
            try:
                for _ in range(100):
                    connection.sendall(b"100000\r\n" + bytes(MIB) + b"\r\n")
            except (BrokenPipeError, ConnectionResetError):
                pass
            responses = read_responses(connection)
            return str(responses[0][0]) if responses else "no answer"

    with attack(server, "32 chunked bodies that do not end", expected, tmp_path) as report:
        at_once(report, endless, 32)
    assert set(report.codes) <= {"429", "no answer"}


def test_the_largest_legal_messages(server, expected, tmp_path):
    image = FILES["png"] + bytes(30 * MIB)  # What follows a PNG's end is not read.
    legal = request_of(refer_inputs([image], QUERIES)).SerializeToString()
    queries = request_of(refer_inputs([FILES["png"]], [QUERY] * 4096)).SerializeToString()
    beyond = large_image(33 * MIB)
    for name, message, count, codes in (
        ("48 legal requests of 30 MiB, on as many connections", legal, 48, {"OK", "RESOURCE_EXHAUSTED"}),
        ("48 requests of 33 MiB", beyond, 48, {"RESOURCE_EXHAUSTED"}),
        ("64 requests with 4,096 queries", queries, 64, {"OK", "RESOURCE_EXHAUSTED"}),
    ):
        with attack(server, name, expected, tmp_path) as report:
            at_once(report, lambda _, message=message: predict(server.address, message), count)
        assert set(report.codes) <= codes


def test_pictures_of_forty_megapixels_and_sixteen_bits(server, expected, tmp_path):
    picture = png16(5000, 8000)
    one = request_of(refer_inputs([picture], QUERIES)).SerializeToString()
    sixteen = request_of(refer_inputs([picture] * 16, QUERIES)).SerializeToString()
    with attack(server, "8 requests of 16 PNGs, 40 megapixels of 16 bits each", expected, tmp_path) as report:
        at_once(report, lambda _: predict(server.address, sixteen), 8)
    assert set(report.codes) == {"RESOURCE_EXHAUSTED"}
    with attack(server, "16 requests of one such PNG", expected, tmp_path) as report:
        at_once(report, lambda _: predict(server.address, one), 16)
    assert set(report.codes) <= {"OK", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"} and report.codes["OK"]
