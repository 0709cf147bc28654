"""What an attack on a server is measured by: its memory, a good client beside it, and its health."""

import collections
import concurrent.futures
import contextlib
import json
import os
import pathlib
import resource
import subprocess
import sys
import threading
import time

import good_client
import grpc
import numpy as np
import tensorflow as tf
from pictures import FILES
from server_process import QUERIES, refer_inputs
from tensorflow_serving.apis import predict_pb2

MEMORY = 2 << 30
# Private memory that can be written, beyond which the kernel gives no more: `ulimit -d`, which needs no root. What is
# only reserved counts, too (stacks, arenas, twelve times a JSON body by its parser): it is stricter than a cgroup's.
# RLIMIT_AS would count TensorFlow's libraries and what allocators may not even write: 3.4 GiB at rest.
BOUNDS = {resource.RLIMIT_DATA: MEMORY}
WORST_HEALTH_MS = 2000
PREDICT = good_client.PREDICT


def request_of(inputs, name="dsg", signature="refer"):
    """A PredictRequest."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = name, signature
    for key, value in inputs.items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return request


def channel(address, *options):
    """A connection of its own, whatever others this process has."""
    return grpc.insecure_channel(
        address,
        [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
            *options,
        ],
    )


def predict(address, message: bytes, *, timeout=60.0, **options) -> str:
    """The code of a request over a new connection."""
    with channel(address) as connection:
        try:
            connection.unary_unary(PREDICT)(message, timeout=timeout, **options)
            return "OK"
        except grpc.RpcError as error:
            return error.code().name


def memory_mib(pid: int) -> dict[str, float]:
    """Lines of /proc/PID/status that are in kB: VmHWM, VmRSS, RssAnon, VmData and others."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        rows = [line.split() for line in file]
    return {row[0].rstrip(":"): int(row[1]) / 1024 for row in rows if row[-1] == "kB"}


class Expected:
    """A good request and its answer by the SavedModel itself."""

    def __init__(self, exported):
        self.request = request_of(refer_inputs([FILES["jpeg"]], QUERIES))
        signature = tf.saved_model.load(exported).signatures["refer"]
        inputs = {key: tf.constant(value) for key, value in refer_inputs([FILES["jpeg"]], QUERIES).items()}
        self.outputs = {key: value.numpy() for key, value in signature(**inputs).items()}

    def check(self, answer: bytes):
        response = predict_pb2.PredictResponse.FromString(answer)
        assert set(response.outputs) == set(self.outputs)
        for key, value in self.outputs.items():
            found = tf.make_ndarray(response.outputs[key])
            np.testing.assert_allclose(found, value, atol=2e-3 if "box" in key else 2e-5, err_msg=key)


class Report:
    """What became of an attack.

    Attributes:
      codes: how often each code came to the attacker.
      good, health: (code, milliseconds) of the good client's calls and of its health checks.
      peak: MiB, the most of VmHWM (resident), RssAnon and VmData while the attack ran.
    """

    def __init__(self):
        self.codes: collections.Counter[str] = collections.Counter()
        self.good: list[tuple[str, float]] = []
        self.health: list[tuple[str, float]] = []
        self.peak: collections.Counter[str] = collections.Counter()

    def answered_ms(self) -> list[float]:
        return [ms for code, ms in self.good if code == "OK"]

    def line(self, name: str, seconds: float) -> str:
        """A row of the table in docs/robustness.md."""
        answered, health = self.answered_ms(), [ms for _, ms in self.health]
        refused = collections.Counter(code.split(":")[0] for code, _ in self.good if code != "OK")
        codes = ", ".join(f"{count} {code}" for code, count in self.codes.most_common())
        return (
            f"| {name} | {seconds:.0f} s: {codes} | {len(answered)} OK{_others(refused)}, "
            f"{np.median(answered):.0f}, {max(answered):.0f} | {max(health):.0f} | {self.peak['VmHWM']:.0f} | "
            f"{self.peak['RssAnon']:.0f}, {self.peak['VmData']:.0f} |"
        )


def _others(counts) -> str:
    return "".join(f" {count} {code}" for code, count in counts.items())


@contextlib.contextmanager
def attack(server, name: str, expected: Expected, folder: pathlib.Path, refused: bool = False):
    """Watches the server, asks it for health and for what is good, and holds the attack to what must be.

    Args:
      server, name, expected: who is attacked, by what, and what a good client must be told.
      folder: for files.
      refused: whether new connections, those that ask for health among them, may be refused for a while;
        asyncio notes each that it cannot accept, with a trace.
    """
    report, start = Report(), time.monotonic()
    request, result = folder / "request", folder / f"result{time.monotonic_ns()}"
    request.write_bytes(expected.request.SerializeToString())
    good = subprocess.Popen(
        [sys.executable, good_client.__file__, server.address, str(request), str(result)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    good.stdout.readline()
    with _watch(server.process.pid, report):
        try:
            yield report
        finally:
            good.communicate()
    found = json.loads(result.read_text())
    report.good, report.health = found["calls"], found["health"]
    print(report.line(name, time.monotonic() - start), flush=True)
    for answer in found["answers"]:
        expected.check(bytes.fromhex(answer))
    assert server.process.poll() is None, server.text()[-3000:]
    answered = [ms for code, ms in report.health if code == "OK"]
    assert refused or len(answered) == len(report.health), [code for code, _ in report.health if code != "OK"]
    assert refused or max(answered) < WORST_HEALTH_MS
    assert {code.split(":")[0] for code, _ in report.good} <= {"OK", "RESOURCE_EXHAUSTED"}, report.good
    assert report.peak["VmHWM"] < MEMORY / 2**20
    assert " INTERNAL " not in server.text(), server.text()[-3000:]
    assert refused or "Traceback" not in server.text(), server.text()[-3000:]


@contextlib.contextmanager
def _watch(pid: int, report: Report):
    pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")  # VmHWM begins anew.
    stop = threading.Event()

    def sample():
        while os.path.exists(f"/proc/{pid}/status") and (now := memory_mib(pid)):
            for key in ("VmHWM", "RssAnon", "VmData"):
                report.peak[key] = max(report.peak[key], now[key])
            if stop.wait(0.02):
                return

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def at_once(report: Report, function, count: int) -> None:
    """`function(number)`, which returns a code, so many times at the same time."""
    ready = threading.Barrier(count)

    def one(number):
        ready.wait()
        try:
            return function(number)
        except (OSError, EOFError) as error:
            return type(error).__name__

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        report.codes.update(pool.map(one, range(count)))
