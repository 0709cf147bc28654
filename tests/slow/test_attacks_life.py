"""What comes out of step, and what happens to the server's own life: its end, its log, its versions."""

import collections
import contextlib
import gzip
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import attacks
import numpy as np
import pytest
from attacks import PREDICT, attack, channel, predict, request_of
from good_client import HEALTH, ask
from hostile_http import connect, post, read_responses
from paths import ROOT
from pictures import FILES
from server_process import QUERIES, refer_inputs, serving

pytestmark = [pytest.mark.process, pytest.mark.timeout(900)]
GET = b"GET /v1/models/dsg HTTP/1.1\r\nHost: x\r\n"
CLOSE = b"Connection: close\r\n\r\n"


def statuses(port, data: bytes) -> list[int]:
    """Of all responses to these bytes."""
    with connect(port) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(data)
        return [status for status, _ in read_responses(connection)]


def test_garbage(server, expected, tmp_path):
    rng, binary = np.random.default_rng(0), b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    with attack(
        server, "400 connections with garbage, TLS and HTTP/2 greetings among it", expected, tmp_path
    ) as report:
        for number in range(200):
            start = [b"", binary, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"POST / HTTP/1.1\r\n"][number % 4]
            for port in (server.port, server.rest_port):
                with connect(port) as connection, contextlib.suppress(ConnectionError):
                    connection.sendall(start + rng.bytes(rng.integers(1, 3000)) + b"\r\n\r\n")
                    connection.settimeout(0.05)
                    with contextlib.suppress(TimeoutError):
                        greeting = connection.recv(12)
                        report.codes[greeting[9:12].decode() if greeting.startswith(b"HTTP") else "HTTP/2"] += 1


def test_requests_out_of_step(server):
    """A response for each request, in its order, or the end of the connection; never a body read as a request."""
    inner = GET + b"\r\n"
    for data, wanted in (
        ((GET + b"\r\n") * 20 + GET + CLOSE, [200] * 21),
        # Bodies that look like requests, of what is refused before they are read.
        (post(len(inner)).replace(b"predict", b"nothing") + inner + GET + CLOSE, [400, 200]),
        (
            b"GET /v1/models/dsg HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(inner) + inner + GET + CLOSE,
            [200, 200],
        ),
        (post(2) + b"{}" + GET + CLOSE, [400, 200]),
        (post(2, "Content-Length: 5") + b"{}" + inner, [400]),
        (post(5, "Transfer-Encoding: chunked") + b"0\r\n\r\n" + inner, [400]),
        (post(None, "Content-Length: -1") + inner, [400]),
        (post(None, "Content-Length: 1_0") + inner, [400]),
        (post(None, "Transfer-Encoding: chunked") + b"zz\r\n" + inner, [400]),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n" + inner, [400]),
    ):
        assert statuses(server.rest_port, data) == wanted, data[:200]


def test_a_refused_body_is_not_read_as_a_request(server):
    """Of 40 MiB, refused at once: the answer is 429, and nothing after it."""
    body = (GET + b"\r\n") * (40 * 2**20 // len(GET + b"\r\n"))
    assert statuses(server.rest_port, post(len(body)) + body + GET + CLOSE) in ([429], [429, 200])
    packed = gzip.compress(body)
    assert statuses(server.rest_port, post(len(packed), "Content-Encoding: gzip") + packed + GET + CLOSE) == [429, 200]


def test_sigterm_while_it_is_attacked(exported, expected, tmp_path):
    shutil.copytree(exported, tmp_path / "models" / "1")
    message, codes, stop = expected.request.SerializeToString(), [], threading.Event()

    def ask_over_grpc():
        with channel(server.address) as connection:
            while not stop.is_set():
                try:
                    expected.check(connection.unary_unary(PREDICT)(message, timeout=30))
                    codes.append("OK")
                except attacks.grpc.RpcError as error:
                    codes.append(error.code().name)
                    if codes[-1] == "UNAVAILABLE":
                        return

    def ask_over_rest():
        while not stop.is_set():
            try:
                codes.extend(statuses(server.rest_port, (post(2) + b"{}") * 5))
            except OSError:
                return

    with serving(tmp_path / "models", "--drain_seconds=10") as server, contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(connect(server.rest_port)).sendall(post(1000) + b"{")
        clients = [threading.Thread(target=work) for work in [ask_over_grpc] * 8 + [ask_over_rest] * 4]
        for client in clients:
            client.start()
        time.sleep(2)
        start = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0, server.text()[-3000:]
        seconds = time.monotonic() - start
        stop.set()
        for client in clients:
            client.join()
        counts = collections.Counter(map(str, codes))
        print(f"| SIGTERM beside 8 gRPC, 4 pipelining and 20 slow clients | {seconds:.1f} s: {dict(counts)}")
        # CANCELLED: what reaches gRPC between the last answer and its own end.
        assert seconds < 17 and set(codes) <= {"OK", "UNAVAILABLE", "CANCELLED", 400, 503}
        assert codes.count("CANCELLED") <= 8
        assert "Traceback" not in server.text()


def test_a_log_that_nobody_reads(exported, expected, tmp_path):
    shutil.copytree(exported, tmp_path / "models" / "1")
    port, rest_port = free_port(), free_port()
    flags = [f"--model_dir={tmp_path / 'models'}", f"--port={port}", f"--rest_port={rest_port}"]
    command = [sys.executable, "-m", "export.serve", *flags]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            address, end = f"127.0.0.1:{port}", time.monotonic() + 120
            while ask(address, HEALTH, b"")[0] != "OK" and time.monotonic() < end:
                time.sleep(0.2)
            start, codes = time.monotonic(), send_refused(address, 20_000)
            seconds = time.monotonic() - start
            with channel(address) as connection:
                expected.check(connection.unary_unary(PREDICT)(expected.request.SerializeToString(), timeout=60))
            with connect(rest_port) as connection:
                connection.sendall(b"GET /monitoring/prometheus/metrics HTTP/1.1\r\nHost: x\r\n" + CLOSE)
                page = read_responses(connection)[0][1].decode()
            dropped = float(re.search(r"^dsg_log_lines_dropped_total (\S+)", page, re.M).group(1))
            print(f"| 20,000 requests, a log that nobody reads | {seconds:.0f} s: {dict(codes)}, {dropped:.0f} lost")
            assert set(codes) == {"FAILED_PRECONDITION"} and dropped > 5000
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def send_refused(address, count) -> collections.Counter:
    """The codes of so many requests that cost nothing but a line of the log, 20 at a time."""
    message, codes = request_of({}, signature="no such").SerializeToString(), collections.Counter()
    with channel(address) as connection:
        call = connection.unary_unary(PREDICT)
        for _ in range(count // 20):
            futures = [call.future(message, timeout=60) for _ in range(20)]
            codes.update(future.exception().code().name for future in futures)
    return codes


def test_a_version_that_is_copied_in_slowly(exported, expected, tmp_path):
    base = tmp_path / "models"
    shutil.copytree(exported, base / "1")
    files = [
        os.path.relpath(os.path.join(folder, name), exported)
        for folder, _, names in os.walk(exported)
        for name in names
    ]
    with serving(base) as server:
        for name in sorted(files, reverse=True):  # saved_model.pb before the variables would be too easy.
            os.makedirs(os.path.dirname(base / "2" / name), exist_ok=True)
            shutil.copy(os.path.join(exported, name), base / "2" / name)
            assert predict(server.address, expected.request.SerializeToString()) == "OK"
            time.sleep(8 / len(files))
        start = time.monotonic()
        server.wait_for(r"version 2 is served", 20)
        slow = time.monotonic() - start
        data = "variables/variables.data-00000-of-00001"
        shutil.copytree(exported, base / ".3")
        os.truncate(base / ".3" / data, 1000)
        os.rename(base / ".3", base / "3")
        server.wait_for(r"version 3 cannot be loaded", 20)
        shutil.copy(os.path.join(exported, data), base / "3" / data)
        start = time.monotonic()
        server.wait_for(r"version 3 is served", 20)
        print(f"| versions that become whole later | served {slow:.1f} and {time.monotonic() - start:.1f} s after that")
        assert predict(server.address, expected.request.SerializeToString()) == "OK"


def test_directories_with_odd_names(exported, expected, tmp_path):
    base = tmp_path / "models"
    shutil.copytree(exported, base / "1")
    with serving(base) as server:
        for name in ("²", "५", "-3", "1e3", "99999999999999999999", " 7", "tmp"):
            os.mkdir(base / name)
        (base / "9").write_text("a file")
        time.sleep(1)
        shutil.copytree(exported, base / ".5")
        os.rename(base / ".5", base / "00000005")
        server.wait_for(r"version 5 is served", 20)
        time.sleep(1)
        state = server.rest("/v1/models/dsg")[1]["model_version_status"]
        assert [(row["version"], row["state"]) for row in state] == [("5", "AVAILABLE"), ("1", "END")]
        request = request_of(refer_inputs([FILES["jpeg"]], QUERIES))
        request.model_spec.version.value = 5
        assert predict(server.address, request.SerializeToString()) == "OK"
