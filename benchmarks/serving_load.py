"""The local server under load: requests a second, latency and refusals, by number and kind of clients; prints JSON.

    python benchmarks/serving_load.py [--flagfile_of_model=configs/synthetic.flags] [--seconds=20] [--root=CHECKOUT]

Each client has a connection of its own and one request at a time. One that is refused because the server is full asks
again after a pause; its time is from the first attempt to the answer. Clients and server share the machine.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import collections
import contextlib
import dataclasses
import json
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence

import grpc
import machine
import numpy as np
import served
import settings
from absl import app, flags, logging
from tensorflow_serving.apis import predict_pb2

from export.serving.limits import Limits
from export.serving.servable import Servable

FLAGS = flags.FLAGS
CLIENTS = (1, 8, 32, 80)
QUERIES, IMAGES = 10, 16
DEADLINE, PAUSE = 30.0, 0.05  # Seconds.
FULL = "RESOURCE_EXHAUSTED"


@dataclasses.dataclass(frozen=True)
class Group:
    """Clients that ask the same.

    Attributes:
      clients: how many.
      request: what each of them asks, again and again.
      expected: the code of a right answer.
    """

    clients: int
    request: predict_pb2.PredictRequest
    expected: str = "OK"


class Client(threading.Thread):
    """One client of a group.

    Attributes:
      milliseconds: from the first attempt to the expected answer, of each request.
      refused: attempts that got another code, by code.
      seconds: from its first request to the end of its last.
    """

    def __init__(self, group: Group, predict: grpc.UnaryUnaryMultiCallable, start: threading.Barrier):
        super().__init__()
        self._group, self._predict, self._start = group, predict, start
        self.milliseconds: list[float] = []
        self.refused: collections.Counter[str] = collections.Counter()
        self.seconds = 0.0

    def run(self):
        self._ask()  # So that the server has met the shape.
        self._start.wait()
        begin = time.monotonic()
        end = begin + FLAGS.seconds
        while time.monotonic() < end:
            first = time.perf_counter()
            while (code := self._ask()) == FULL != self._group.expected and time.monotonic() < end:
                self.refused[code] += 1
                time.sleep(PAUSE)
            if code == self._group.expected:
                self.milliseconds.append(1000 * (time.perf_counter() - first))
            else:
                self.refused[code] += 1
        self.seconds = time.monotonic() - begin

    def _ask(self) -> str:
        """The code of the answer."""
        try:
            self._predict(self._group.request, timeout=DEADLINE)
        except grpc.RpcError as error:
            return error.code().name
        return "OK"


def main(_):
    logging.set_verbosity(logging.WARNING)
    root = os.path.abspath(FLAGS.root or settings.ROOT)
    with tempfile.TemporaryDirectory() as folder:
        config = settings.of_flag_file(FLAGS.flagfile_of_model)
        path, photo = served.export(config, folder), served.photo(config)
        report = {
            "machine": machine.describe("tensorflow", "grpcio"),
            "root": root,
            "configuration": FLAGS.flagfile_of_model,
            "loads": {},
        }
        with served.server(path, root=root) as address:
            for name, groups in loads(path, photo).items():
                report["loads"][name] = measure(address, groups)
    print(json.dumps(report, indent=2))


def loads(path: str, photo: bytes) -> dict[str, dict[str, Group]]:
    """Groups that ask at the same time, by the name of the load and of the group."""
    servable = Servable(path)
    state = servable.run(servable.prepare(served.request("encode", image=np.array([photo], object)), Limits()))
    refer = served.request("refer", image=np.array([photo], object), **served.words(QUERIES))
    answer = served.request("answer", **state, **served.words(QUERIES))
    batch = served.request("refer", image=np.array([photo] * IMAGES, object), **served.words(QUERIES, IMAGES))
    unknown = served.words(QUERIES)
    unknown["object"][0, -1] = "zebra"
    wrong = served.request("refer", image=np.array([photo], object), **unknown)
    return {
        **{f"{name}, {count} clients": {name: Group(count, request)}
           for name, request in (("answer", answer), ("refer", refer)) for count in CLIENTS},
        "refer, mixed batch sizes": {"1 image": Group(1, refer), f"{IMAGES} images": Group(4, batch)},
        "refer, unknown words": {"good": Group(8, refer), "unknown word": Group(8, wrong, "INVALID_ARGUMENT")},
    }  # fmt: skip


def measure(address: str, groups: Mapping[str, Group]) -> dict[str, dict[str, object]]:
    """What each group of a load got."""
    start = threading.Barrier(sum(group.clients for group in groups.values()))
    with contextlib.ExitStack() as connections:
        clients = {
            name: [
                Client(group, connections.enter_context(served.connection(address)), start)
                for _ in range(group.clients)
            ]
            for name, group in groups.items()
        }
        everybody = [client for members in clients.values() for client in members]
        for client in everybody:
            client.start()
        for client in everybody:
            client.join()
    return {name: {"clients": len(members), **summary(members)} for name, members in clients.items()}


def summary(clients: Sequence[Client]) -> dict[str, object]:
    """Requests that were answered as expected, a second, with percentiles of their times; and refusals by code."""
    times = [value for client in clients for value in client.milliseconds]
    refused = sum((client.refused for client in clients), collections.Counter())
    return {
        "requests_per_second": round(sum(len(client.milliseconds) / client.seconds for client in clients), 2),
        **{f"p{p}_ms": round(float(np.percentile(times, p)), 1) if times else None for p in (50, 95, 99)},
        "refused": dict(refused),
    }


if __name__ == "__main__":
    flags.DEFINE_string("flagfile_of_model", "configs/synthetic.flags", "configuration of the model that is served")
    flags.DEFINE_float("seconds", 20, "how long each load lasts", lower_bound=1)
    flags.DEFINE_string("root", "", "the checkout that the server runs from; default: this one")
    app.run(main)
