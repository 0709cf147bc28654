"""Ten thousand requests, good ones among bad ones of every kind: the server answers each rightly and does not grow."""

import base64
import collections
import concurrent.futures
import json
import re
import shutil
import struct
import time
import zlib

import grpc
import numpy as np
import pytest
import tensorflow as tf
from attacks import BOUNDS, memory_mib, request_of
from pictures import FILES, QUERY, png_of
from server_process import QUERIES, refer_inputs, serving
from tensorflow_serving.apis import prediction_service_pb2_grpc

pytestmark = pytest.mark.process

REQUESTS, WARM_UP, CLIENTS = 10_000, 2_000, 8
REFUSED = {"INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"}


def bomb(side: int) -> bytes:
    """A PNG of a few bytes that announces side x side pixels."""
    return png_of(struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0), zlib.compress(bytes(10_000)))


class Attacker:
    """Makes requests, and knows what each must lead to."""

    def __init__(self, server, expected):
        self.server, self.expected, self.counts = server, expected, collections.Counter()
        self.channel = grpc.insecure_channel(server.address, [("grpc.max_send_message_length", -1)])
        self.predict = prediction_service_pb2_grpc.PredictionServiceStub(self.channel).Predict
        self.kinds = [getattr(self, name) for name in sorted(dir(self)) if name.startswith("send_")]

    def one(self, number):
        rng = np.random.default_rng(number)
        send = self.send_good if number % 3 == 0 else self.kinds[rng.integers(len(self.kinds))]
        send(rng)
        self.counts[send.__name__] += 1

    def refused(self, request, codes=REFUSED, **call):
        with pytest.raises(grpc.RpcError) as caught:
            self.predict(request, **{"timeout": 120, **call})
        assert caught.value.code().name in codes, (caught.value.code(), caught.value.details())

    def inputs(self, rng, file=None):
        file = FILES[list(FILES)[rng.integers(len(FILES))]] if file is None else file
        return refer_inputs([file], QUERIES[: rng.integers(1, 4)])

    def send_good(self, rng):
        name, count = list(FILES)[rng.integers(len(FILES))], int(rng.integers(len(QUERIES) + 1))
        response = self.predict(request_of(refer_inputs([FILES[name]], QUERIES[:count])), timeout=120)
        for key, value in self.expected[name].items():
            found = tf.make_ndarray(response.outputs[key])
            value = value if key in ("boxes", "valid") else value[:, :count]
            np.testing.assert_allclose(found, value, atol=2e-3 if "box" in key else 2e-5, err_msg=key)

    def send_random_bytes(self, rng):
        start = [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF1234WEBPVP8 "][rng.integers(4)]
        self.refused(request_of(self.inputs(rng, start + rng.bytes(rng.integers(3000)))))

    def send_truncated(self, rng):
        file = FILES[["png", "rgba", "palette", "gray"][rng.integers(4)]]
        self.refused(request_of(self.inputs(rng, file[: rng.integers(len(file) - 20)])))

    def send_bomb(self, rng):
        self.refused(request_of(self.inputs(rng, bomb([20_000, 2**31 - 1, 6_000][rng.integers(3)]))))

    def send_wrong_dtype(self, rng):
        inputs = self.inputs(rng)
        inputs[list(inputs)[rng.integers(4)]] = rng.normal(size=rng.integers(1, 4, rng.integers(4))).astype(
            [np.float32, np.float64, np.int32, np.int64, np.bool_][rng.integers(5)]
        )
        self.refused(request_of(inputs))

    def send_wrong_rank(self, rng):
        inputs = self.inputs(rng)
        key = list(inputs)[rng.integers(4)]
        inputs[key] = inputs[key][np.newaxis] if rng.integers(2) else inputs[key].ravel()[0]
        self.refused(request_of(inputs))

    def send_shapes_that_differ(self, rng):
        inputs = self.inputs(rng)
        key = list(inputs)[rng.integers(4)]
        inputs[key] = np.concatenate([inputs[key]] * 2)
        self.refused(request_of(inputs))

    def send_huge_batch(self, rng):
        self.refused(request_of(refer_inputs([b"x"] * int(rng.integers(17, 3000)), [QUERY])))

    def send_many_queries(self, rng):
        self.refused(request_of(refer_inputs([FILES["png"]], [QUERY] * int(rng.integers(4097, 20_000)))))

    def send_announced_shape(self, rng):
        request = request_of(self.inputs(rng))
        tensor = request.inputs[["image", "subject", "relation", "object"][rng.integers(4)]]
        tensor.tensor_shape.dim[rng.integers(len(tensor.tensor_shape.dim))].size = int(
            [-1, -(2**40), 2**20, 2**62][rng.integers(4)]
        )
        self.refused(request)

    def send_unknown_word(self, rng):
        inputs = self.inputs(rng)
        inputs[["subject", "relation", "object"][rng.integers(3)]][0, 0] = rng.bytes(rng.integers(1, 50))
        self.refused(request_of(inputs))

    def send_bad_state(self, rng):
        """`answer` with parts of the wrong size."""
        words = self.inputs(rng)
        words.pop("image")
        state = {
            name: rng.normal(size=rng.integers(0, 5, 3)).astype(np.float32)
            for name in ("boxes", "nodes", "pairs", "entity_logits", "relation_logits")
        }
        self.refused(request_of({**words, **state, "valid": np.ones([1, 3], bool)}, signature="answer"))

    def send_unknown_signature_or_model(self, rng):
        name = rng.bytes(5).hex()
        request = request_of(self.inputs(rng), **{["name", "signature"][rng.integers(2)]: name})
        self.refused(request, {"NOT_FOUND", "FAILED_PRECONDITION"})

    def send_unknown_label(self, rng):
        """With a signature of any name, which no counter must keep."""
        request = request_of(self.inputs(rng), signature=rng.bytes(5).hex())
        request.model_spec.version_label = "canary"
        self.refused(request)

    def send_missing_or_extra(self, rng):
        request = request_of(self.inputs(rng))
        if rng.integers(2):
            del request.inputs[["image", "subject", "relation", "object"][rng.integers(4)]]
        else:
            request.inputs["more"].CopyFrom(tf.make_tensor_proto(1.0))
        if rng.integers(4) == 0:
            request.inputs.clear()
        self.refused(request)

    def send_unknown_output(self, rng):
        request = request_of(self.inputs(rng))
        request.output_filter.append("masks")
        self.refused(request)

    def send_expired(self, rng):
        self.refused(request_of(self.inputs(rng)), {"DEADLINE_EXCEEDED"}, timeout=float(rng.uniform(1e-5, 1e-4)))

    def send_cancelled(self, rng):
        call = self.predict.future(request_of(self.inputs(rng)), timeout=120)
        time.sleep(rng.uniform(0, 0.02))
        call.cancel()
        assert call.cancelled() or call.exception() is None

    def send_rest(self, rng):
        """Bad JSON of several kinds."""
        image = {"b64": base64.b64encode(FILES["png"]).decode()}
        bodies = [
            rng.bytes(200),
            b"[" * 5000,
            b'{"instances": [{"image": {"b64": "%%%"}}]}',
            json.dumps(
                {"instances": [{"image": image, "subject": ["red square"], "relation": [3], "object": ["a"]}]}
            ).encode(),
            json.dumps(
                {"inputs": {"image": [image], "subject": [["zebra"]], "relation": [["left"]], "object": [["red disc"]]}}
            ).encode(),
            json.dumps({"inputs": [[[1e999]]], "signature_name": "encode"}).encode(),
            b"null",
            b'{"inputs": {}}',
        ]
        code, answer = self.server.rest("/v1/models/dsg:predict", bodies[rng.integers(len(bodies))])
        assert code == 400 and answer["error"]


def test_ten_thousand_requests(exported, tmp_path):
    shutil.copytree(exported, tmp_path / "models" / "1")
    signature = tf.saved_model.load(exported).signatures["refer"]
    expected = {
        name: {
            key: value.numpy()
            for key, value in signature(
                **{key: tf.constant(value, tf.string) for key, value in refer_inputs([file], QUERIES).items()}
            ).items()
        }
        for name, file in FILES.items()
    }
    with serving(tmp_path / "models", bounds=BOUNDS) as server:
        attacker = Attacker(server, expected)
        start, memory = time.monotonic(), []
        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
            for first in range(0, REQUESTS, WARM_UP):
                list(pool.map(attacker.one, range(first, first + WARM_UP)))
                memory.append(memory_mib(server.process.pid)["VmRSS"])
        print(
            f"{REQUESTS} requests in {time.monotonic() - start:.0f} s; MiB after each {WARM_UP}: "
            f"{[round(m) for m in memory]}; {dict(sorted(attacker.counts.items()))}"
        )
        assert sum(attacker.counts.values()) == REQUESTS and min(attacker.counts.values()) > 50
        assert memory[-1] < 1.1 * memory[0] + 50
        page = server.metrics()
        assert set(re.findall(r'signature="(\w+)"', page)) <= {
            "refer",
            "answer",
            "encode",
            "serving_default",
            "unknown",
        }
        assert not re.search("Traceback| INTERNAL |never retrieved", server.text())
