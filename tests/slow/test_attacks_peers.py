"""Peers that are slow, silent or many: they get in nobody's way for long."""

import base64
import concurrent.futures
import contextlib
import resource
import shutil
import threading
import time

import attacks
import grpc
import hostile_http2
import numpy as np
import pytest
from attacks import PREDICT, attack, channel, predict, request_of
from good_client import HEALTH, ask
from hostile_http import begin_connecting, connect, post, read_responses
from pictures import FILES, QUERY
from server_process import QUERIES, refer_inputs, serving

pytestmark = [pytest.mark.process, pytest.mark.timeout(900)]
SECONDS = 8.0  # That an attack goes on.
MIB = 1 << 20


def count_ended(report, connections):
    """How many of them the server has ended by now, or answered."""
    for connection in connections:
        connection.settimeout(0.01)
        try:
            while connection.recv(1 << 16):  # What it was told before.
                pass
            report.codes["ended"] += 1
        except TimeoutError:
            report.codes["open"] += 1
        except ConnectionError:
            report.codes["ended"] += 1


def rest_answer(server, path="/v1/models/dsg"):
    """(status, seconds) of a GET over a new connection."""
    start = time.monotonic()
    with connect(server.rest_port) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        return read_responses(connection)[0][0], time.monotonic() - start


def test_bodies_that_come_byte_by_byte(server, expected, tmp_path):
    with (
        contextlib.ExitStack() as stack,
        attack(server, "64 REST bodies of 30 MiB, a byte every .5 s", expected, tmp_path) as report,
    ):
        slow = [stack.enter_context(connect(server.rest_port)) for _ in range(64)]
        for connection in slow:
            connection.sendall(post(30 * MIB))
        for _ in range(int(2 * SECONDS)):
            for connection in slow:
                with contextlib.suppress(ConnectionError):
                    connection.sendall(b" ")
            time.sleep(0.5)
            status, seconds = rest_answer(server)
            assert status == 200 and seconds < 2
        count_ended(report, slow)


def test_a_body_has_a_deadline_as_a_whole(exported, tmp_path):
    shutil.copytree(exported, tmp_path / "models" / "1")
    with serving(tmp_path / "models", "--timeout=3") as quick, connect(quick.rest_port) as connection:
        connection.sendall(post(1000))
        start = time.monotonic()
        sender = threading.Thread(target=drip, args=[connection, 6])
        sender.start()
        responses = read_responses(connection)
        assert [status for status, _ in responses] == [504] and 2.5 < time.monotonic() - start < 6
        sender.join()


def drip(connection, seconds):
    """A byte every .2 s."""
    end = time.monotonic() + seconds
    with contextlib.suppress(OSError):
        while time.monotonic() < end:
            connection.sendall(b" ")
            time.sleep(0.2)


def silent(stack, connection, method):
    """A call whose message does not come until the stack ends."""
    stop = threading.Event()

    def nothing():
        stop.wait(120)
        return
        yield

    stack.callback(stop.set)
    return connection.stream_unary(method).future(nothing(), timeout=120)


@pytest.mark.parametrize("connections", [1, 144])
def test_silent_streams(server, expected, tmp_path, connections):
    with (
        contextlib.ExitStack() as stack,
        attack(server, f"144 silent gRPC streams on {connections} connections", expected, tmp_path) as report,
    ):
        channels = [stack.enter_context(channel(server.address)) for _ in range(connections)]
        calls = [silent(stack, channels[k % connections], PREDICT) for k in range(144)]
        time.sleep(SECONDS)
        report.codes.update(call.code().name if call.done() else "waits" for call in calls)
    assert len(report.answered_ms()) > SECONDS and max(report.answered_ms()) < 5000


def test_health_streams_with_large_bodies(server, expected, tmp_path):
    """Announced, and then sent but for the last byte."""
    with (
        contextlib.ExitStack() as stack,
        attack(server, "64 health checks of 30 MiB but for a byte", expected, tmp_path) as report,
    ):
        message = b"\n" + bytes(30 * MIB)
        unfinished = hostile_http2.call(HEALTH, message)[:-100]

        def send(connection):
            with contextlib.suppress(OSError):
                connection.settimeout(SECONDS)
                connection.sendall(unfinished)

        slow = [stack.enter_context(hostile_http2.open_connection(server.port)) for _ in range(64)]
        with concurrent.futures.ThreadPoolExecutor(64) as pool:
            list(pool.map(send, slow))
        report.codes["sent"] = len(slow)


def test_answers_that_nobody_reads(server, expected, tmp_path):
    message = request_of(refer_inputs([FILES["png"]], [QUERY] * 4096)).SerializeToString()
    body = (
        b'{"signature_name":"refer","inputs":{"image":[{"b64":"%s"}],"subject":[%s],"relation":[%s],"object":[%s]}}'
        % (
            base64.b64encode(FILES["png"]),
            *(b"[" + b",".join([b'"%s"' % word.encode()] * 4096) + b"]" for word in QUERY),
        )
    )
    with (
        contextlib.ExitStack() as stack,
        attack(server, "64 gRPC and 64 REST clients that never read their answers", expected, tmp_path) as report,
    ):
        deaf = [stack.enter_context(hostile_http2.open_connection(server.port, window=0)) for _ in range(64)]
        deaf += [stack.enter_context(connect(server.rest_port, receive_buffer=4096)) for _ in range(64)]
        for number, connection in enumerate(deaf):
            connection.settimeout(SECONDS)
            with contextlib.suppress(OSError):
                connection.sendall(hostile_http2.call(PREDICT, message) if number < 64 else post(len(body)) + body)
        time.sleep(SECONDS)
        report.codes["sent"] = len(deaf)
    assert report.answered_ms()


def test_streams_that_are_reset_at_once(server, expected, tmp_path):
    headers = hostile_http2.call_headers(PREDICT)
    with attack(server, "50,000 streams, each reset at once (rapid reset)", expected, tmp_path) as report:
        with hostile_http2.open_connection(server.port) as connection:
            connection.settimeout(10)
            try:
                for first in range(1, 100_001, 2000):
                    connection.sendall(
                        b"".join(
                            hostile_http2.frame(hostile_http2.HEADERS, hostile_http2.END_HEADERS, stream, headers)
                            + hostile_http2.frame(hostile_http2.RST_STREAM, 0, stream, b"\0\0\0\x08")
                            for stream in range(first, first + 2000, 2)
                        )
                    )
                report.codes["sent"] = 1
            except OSError as error:
                report.codes[type(error).__name__] += 1


def test_idle_connections(server, expected, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    with (
        contextlib.ExitStack() as stack,
        attack(server, "1,200 idle TCP connections to each port", expected, tmp_path) as report,
    ):
        idle = [
            stack.enter_context(begin_connecting(port)) for _ in range(1200) for port in (server.port, server.rest_port)
        ]
        for _ in range(int(SECONDS)):
            status, seconds = rest_answer(server)
            assert status == 200 and seconds < 2
            time.sleep(1)
        count_ended(report, idle)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_at_the_limit_of_file_descriptors(exported, expected, tmp_path):
    shutil.copytree(exported, tmp_path / "models" / "1")
    bounds = {**attacks.BOUNDS, resource.RLIMIT_NOFILE: 256}
    with serving(tmp_path / "models", bounds=bounds) as small:
        with (
            contextlib.ExitStack() as stack,
            attack(small, "300 idle connections to each port, 256 files", expected, tmp_path, refused=True) as report,
        ):
            idle = [
                stack.enter_context(begin_connecting(port))
                for _ in range(300)
                for port in (small.port, small.rest_port)
            ]
            before = time.monotonic(), cpu_seconds(small.process.pid)
            time.sleep(SECONDS)
            # It does not spin; the good client and health take some of it.
            used = (cpu_seconds(small.process.pid) - before[1]) / (time.monotonic() - before[0])
            report.codes[f"{100 * used:.0f} % of a core"] = 1
            count_ended(report, idle)
            assert rest_answer(small)[0] == 200
        # gRPC does not let an old connection go for a new one; one that says nothing goes after three seconds.
        assert {code for code, _ in report.health[-20:]} == {"OK"}
        assert ask(small.address, HEALTH, b"")[0] == "OK"


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        values = file.read().rsplit(")", 1)[1].split()
    return (int(values[11]) + int(values[12])) / 100


def keep_asking(report, address, message, stop):
    with channel(address) as connection:
        while not stop.is_set():
            try:
                connection.unary_unary(PREDICT)(message, timeout=30)
                report.codes["OK"] += 1
            except grpc.RpcError as error:
                report.codes[error.code().name] += 1


@contextlib.contextmanager
def asking(report, address, messages):
    """A client for each message, which asks it again and again."""
    stop = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(len(messages)) as pool:
        for message in messages:
            pool.submit(keep_asking, report, address, message, stop)
        try:
            yield
        finally:
            stop.set()


def test_bad_clients_beside_good_ones(server, expected, tmp_path):
    good = expected.request.SerializeToString()
    words = request_of(refer_inputs([FILES["jpeg"]], [("zebra", "left", "blue disc")])).SerializeToString()
    damaged = request_of(refer_inputs([FILES["png"][:200]], QUERIES)).SerializeToString()
    with attack(server, "8 good clients alone", expected, tmp_path) as report:
        with asking(report, server.address, [good] * 8):
            time.sleep(SECONDS)
    alone = report.codes["OK"]
    with attack(server, "8 good clients beside 8 bad ones", expected, tmp_path) as report:
        with asking(report, server.address, [good] * 8 + [words, damaged] * 4):
            time.sleep(SECONDS)
    assert set(report.codes) == {"OK", "INVALID_ARGUMENT"}
    assert report.codes["OK"] > alone / 3


def test_large_batches_beside_a_client_with_one_image(server, expected, tmp_path):
    batch = request_of(refer_inputs([FILES["jpeg"]] * 16, QUERIES)).SerializeToString()
    with attack(server, "one client with one image, alone", expected, tmp_path) as alone:
        time.sleep(SECONDS)
    with attack(server, "the same beside 4 clients with 16 images", expected, tmp_path) as report:
        with asking(report, server.address, [batch] * 4):
            time.sleep(SECONDS)
    assert set(report.codes) == {"OK"}
    # It waits for the two batches of four images that run, never for sixty-four images.
    assert np.median(report.answered_ms()) < 12 * np.median(alone.answered_ms())


def test_a_call_without_a_deadline(server, expected):
    message = expected.request.SerializeToString()
    for seconds in (None, 1e9):
        assert predict(server.address, message, timeout=seconds) == "OK"
