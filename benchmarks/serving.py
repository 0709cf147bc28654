"""Latency and throughput of an exported model, alone and behind the local server; prints one JSON object.

    python benchmarks/serving.py [--flagfiles=configs/synthetic.flags,configs/vg.flags] [--seconds=20]

The networks have random weights; of them, times depend on how many boxes are valid, which is reported: the classifier
computes no others. `--model_dir` measures a trained network, on `--image`. All ways are timed in turns, in one run.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import contextlib
import json
import statistics
import tempfile
import threading
import time

import machine
import numpy as np
import served
import settings
import timing
from absl import app, flags, logging

from dsg_tf import checkpoints
from dsg_tf.data.scene import Vocabulary
from export import export_saved_model
from export.serving.limits import Limits
from export.serving.servable import Servable

FLAGS = flags.FLAGS
QUERIES = (1, 10, 100, 1000)
CLIENTS = (1, 4, 16)


def main(_):
    logging.set_verbosity(logging.WARNING)
    report = {"machine": machine.describe("tensorflow", "grpcio"), "configurations": {}}
    for path in FLAGS.flagfiles:
        with tempfile.TemporaryDirectory() as folder:
            config = settings.of_flag_file(path)
            report["configurations"][path] = measure(served.export(config, folder), served.photo(config))
    if FLAGS.model_dir:
        with tempfile.TemporaryDirectory() as folder, open(FLAGS.image, "rb") as image:
            path = export_saved_model.export(FLAGS.model_dir, folder)
            vocabulary = checkpoints.load_vocabulary(FLAGS.model_dir)
            report["configurations"][FLAGS.model_dir] = measure(path, image.read(), vocabulary)
    print(json.dumps(report, indent=2))


def measure(path: str, photo: bytes, vocabulary: Vocabulary = served.VOCABULARY) -> dict[str, object]:
    """All figures of one exported version, milliseconds."""
    servable, image, limits = Servable(path), np.array([photo], object), Limits()
    queries = {count: served.words(count, vocabulary=vocabulary) for count in QUERIES}
    requests = {f"refer {count}": served.request("refer", image=image, **queries[count]) for count in QUERIES}
    state = servable.run(servable.prepare(served.request("encode", image=image), limits))
    requests |= {f"answer {count}": served.request("answer", **state, **queries[count]) for count in QUERIES}
    with _server(path) as stub:
        calls = {
            name: lambda request=request: servable.run(servable.prepare(request, limits))
            for name, request in requests.items()
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
        "valid_boxes": int(state["valid"].sum()),
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


@contextlib.contextmanager
def _server(path: str, *flags_: str):
    """A running server's Predict."""
    with served.server(path, *flags_) as address, served.connection(address) as predict:
        yield predict


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
    flags.DEFINE_string("model_dir", "", "a trained model to measure too, on --image")
    flags.DEFINE_string("image", "", "a picture for --model_dir")
    flags.DEFINE_float("seconds", 20, "how long each measurement takes, at least")
    app.run(main)
