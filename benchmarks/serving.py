"""Latency and throughput of an exported model, alone and behind the local server; prints one JSON object.

    python benchmarks/serving.py [--flagfiles=configs/synthetic.flags,configs/vg.flags] [--seconds=20]

The networks have random weights: times do not depend on them. All ways are timed in turns, in one run.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import contextlib
import dataclasses
import io
import json
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import grpc
import machine
import numpy as np
import settings
import tensorflow as tf
import timing
from absl import app, flags, logging
from PIL import Image
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from dsg_tf import build, checkpoints
from dsg_tf import config as config_lib
from dsg_tf.data.scene import Vocabulary
from export import export_saved_model
from export.serving.servable import Servable

FLAGS = flags.FLAGS
QUERIES = (1, 10, 100, 1000)
CLIENTS = (1, 4, 16)
ENTITIES, RELATIONS = 100, 70  # Of Visual Genome and VRD.


def main(_):
    logging.set_verbosity(logging.WARNING)
    report = {"machine": machine.describe("tensorflow", "grpcio"), "configurations": {}}
    for path in FLAGS.flagfiles:
        with tempfile.TemporaryDirectory() as folder:
            config = settings.of_flag_file(path)
            report["configurations"][path] = measure(_export(config, folder), _photo(config))
    print(json.dumps(report, indent=2))


def measure(path: str, photo: bytes) -> dict[str, object]:
    """All figures of one exported version, milliseconds."""
    servable = Servable(path)
    requests = {f"refer {count}": _request("refer", count, image=np.array([photo], object)) for count in QUERIES}
    state = servable.run(servable.prepare(_request("encode", 0, image=np.array([photo], object))))
    requests |= {f"answer {count}": _request("answer", count, **state) for count in QUERIES}
    with _server(path) as stub:
        calls = {
            name: lambda request=request: servable.run(servable.prepare(request)) for name, request in requests.items()
        }
        calls |= {
            f"{name} over gRPC": lambda request=requests[name]: stub(request, timeout=600)
            for name in ("refer 1", "answer 1")
        }
        times = timing.in_turns(calls, FLAGS.seconds)
    middle = {name: statistics.median(values) for name, values in times.items()}
    throughput = {}
    with _server(path) as batched, _server(path, "--nobatching") as single:
        for clients in CLIENTS:
            for name, stub in (("batching", batched), ("no batching", single)):
                throughput[f"{clients} clients, {name}"] = _load(stub, requests["refer 10"], clients)
    return {
        "median_ms": {name: round(value, 2) for name, value in middle.items()},
        "refer_relative_to_one_query": {
            count: round(middle[f"refer {count}"] / middle["refer 1"], 3) for count in QUERIES
        },
        "server_overhead_ms": {
            name: round(statistics.median(np.subtract(times[f"{name} over gRPC"], times[name])), 2)
            for name in ("refer 1", "answer 1")
        },
        "throughput_of_refer_10": throughput,
        "raw_ms": {name: [round(value, 2) for value in values] for name, values in times.items()},
    }


def _export(config: config_lib.Config, folder: str) -> str:
    """A version with random weights."""
    config = dataclasses.replace(config, ema_decay=0.0)  # There is no average of weights that were never trained.
    model = build.build_model(config, ENTITIES, RELATIONS)
    model_dir = os.path.join(folder, "run")
    config_lib.save(config, model_dir)
    checkpoints.save_vocabulary(
        model_dir,
        Vocabulary(tuple(f"entity {k}" for k in range(ENTITIES)), tuple(f"relation {k}" for k in range(RELATIONS))),
    )
    checkpoint = tf.train.Checkpoint(model=model, step=tf.Variable(0, dtype=tf.int64))
    tf.train.CheckpointManager(checkpoint, checkpoints.checkpoint_dir(model_dir), 1).save(0)
    return export_saved_model.export(model_dir, os.path.join(folder, "exported"))


def _photo(config: config_lib.Config) -> bytes:
    """A picture that fills the network's input."""
    rng = np.random.default_rng(0)
    size = (config.long_side if config.image_width == config.long_side else config.image_width, config.short_side)
    picture = Image.fromarray(rng.integers(0, 256, [12, 16, 3], np.uint8)).resize(size, Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _request(signature: str, count: int, **inputs) -> predict_pb2.PredictRequest:
    """A request with `count` different queries; none where the signature takes none."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "dsg", signature
    if signature != "encode":
        for role, names in (("subject", ENTITIES), ("relation", RELATIONS), ("object", ENTITIES)):
            kind = "relation" if role == "relation" else "entity"
            words = [f"{kind} {(7 * k + len(role)) % names}" for k in range(count)]
            request.inputs[role].CopyFrom(tf.make_tensor_proto(np.array([words], object)))
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


@contextlib.contextmanager
def _server(path: str, *flags_: str):
    """A running server's Predict."""
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "export.serve", f"--model_dir={os.path.dirname(path)}", "--port=0", *flags_],
            cwd=settings.ROOT,
            stderr=log,
        )
        try:
            while True:
                log.seek(0)
                if found := re.search(r"gRPC on 127.0.0.1:(\d+)", log.read()):
                    break
                if process.poll() is not None:
                    raise RuntimeError(f"the server ended with {process.returncode}")
                time.sleep(0.2)
            address, options = f"127.0.0.1:{found.group(1)}", [("grpc.max_receive_message_length", -1)]
            with grpc.insecure_channel(address, options) as channel:
                yield prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        finally:
            process.terminate()
            process.wait()


def _load(stub, request, clients: int) -> dict[str, float]:
    """Requests a second and percentiles of the latency with so many clients, each with one request at a time."""
    times, end = [], time.monotonic() + FLAGS.seconds

    def work():
        while time.monotonic() < end:
            before = time.perf_counter()
            stub(request, timeout=600)
            times.append(1000 * (time.perf_counter() - before))

    stub(request, timeout=600)
    threads = [threading.Thread(target=work) for _ in range(clients)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - start
    return {
        "requests_per_second": round(len(times) / seconds, 2),
        **{f"p{p}_ms": round(float(np.percentile(times, p)), 1) for p in (50, 95, 99)},
    }


if __name__ == "__main__":
    flags.DEFINE_list("flagfiles", ["configs/synthetic.flags", "configs/vg.flags"], "configurations to measure")
    flags.DEFINE_float("seconds", 20, "how long each measurement takes, at least")
    app.run(main)
