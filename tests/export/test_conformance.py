"""TF Serving's requests and answers, as its source has them, hold for the local server: what is equal, what is not.

Each case has its place in `docs/conformance.md`: the file of TF Serving that decides it (below tensorflow_serving/), or
the row of the table of differences.
"""

import json
import os
import re
import shutil

import grpc
import numpy as np
import pytest
import raw_http
import tensorflow as tf
from grpc_cases import GRPC_CASES, filtered, predict
from paths import ROOT
from pictures import FILES, QUERY
from rest_cases import CASES, PREDICT, REFER, STATE, encode
from server_process import refer_inputs, serving
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)
from tf_serving_sources import FRAMING, METRICS, TEXTS

from export.serving import rest
from export.serving.status import Status

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def server(exported, tmp_path_factory):
    base = tmp_path_factory.mktemp("conform") / "models"
    shutil.copytree(exported, base / "3")
    with serving(base, "--max_images=6") as running:
        yield running


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server.address) as connected:
        yield connected


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_rest_answers_as_the_table_says(server, case):
    found = raw_http.ask(server.rest_port, case.method, case.path, case.body, case.headers)
    assert (found.status, case.part in found.body) == (case.status, True), found.body[:500]
    is_page = case.path.endswith("/metrics")
    assert found.headers["Content-Type"] == ("text/plain; version=0.0.4" if is_page else "application/json")
    assert found.headers["Server"] == "dsg_tf"
    assert found.headers["Retry-After"] == ("1" if case.status == 429 else None)
    assert not [name for name in found.headers if name.startswith("Access-Control")]
    if case.status != 200:
        assert list(json.loads(found.body)) == ["error"]


def test_a_body_in_chunks(server):
    body = encode()
    found = raw_http.ask(
        server.rest_port, "POST", PREDICT, iter([body[:9], body[9:]]), {"Transfer-Encoding": "chunked"}, chunked=True
    )
    assert found.status == 200 and found.body.startswith(b'{"outputs":{')


def test_floats_are_the_shortest_that_are_exact(server, channel, exported):
    """TF Serving writes six digits, or nine where six are not exact: other texts, the same float32."""
    answer = raw_http.ask(server.rest_port, "POST", PREDICT, REFER).body
    texts = json.loads(answer, parse_float=str)["outputs"]
    request = predict("dsg", "refer")
    exact = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=60).outputs
    signature = tf.saved_model.load(exported).signatures["refer"]
    inputs = refer_inputs([FILES["png"]], [QUERY])
    expected = signature(**{name: tf.constant(value, tf.string, value.shape) for name, value in inputs.items()})
    assert set(texts) == set(exact) == set(expected)
    count = 0
    for name, values in texts.items():
        value = tf.make_ndarray(exact[name])
        if value.dtype != np.float32:
            assert np.array_equal(values, value)
            continue
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-3 if "box" in name else 1e-5)
        flat = np.array(values, object).ravel()
        assert np.array_equal(flat.astype(np.float32), value.ravel())
        for text, number in zip(flat, value.ravel()):
            assert "." in text or "e" in text  # A reader that looks at the text sees that it is no integer.
            assert _digits(text) == _digits(np.format_float_scientific(number, unique=True))
            count += 1
    assert count > 40


def _digits(text: str) -> str:
    return re.sub(r"[-.]", "", text.partition("e")[0]).strip("0")


def test_metadata_has_defaults_and_the_initial_operation(server, channel):
    """MessageToJsonString with always_print_primitive_fields."""
    found = json.loads(raw_http.ask(server.rest_port, "GET", STATE + "/metadata").body)
    assert found["model_spec"] == {"name": "dsg", "version": "3", "signature_name": ""}
    assert list(found["metadata"]) == ["signature_def"] and list(found["metadata"]["signature_def"]) == [
        "signature_def"
    ]
    signatures = found["metadata"]["signature_def"]["signature_def"]
    image = {"dtype": "DT_STRING", "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}}
    assert {key: signatures["encode"]["inputs"]["image"][key] for key in image} == image
    first = signatures["__saved_model_init_op"]
    assert first["inputs"] == {} and first["method_name"] == ""
    assert first["outputs"]["__saved_model_init_op"]["tensor_shape"] == {"dim": [], "unknown_rank": True}
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "dsg"
    answer = prediction_service_pb2_grpc.PredictionServiceStub(channel).GetModelMetadata(request, timeout=60)
    packed = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(packed) and set(packed.signature_def) == set(signatures)
    assert answer.model_spec.name == "dsg" and answer.model_spec.version.value == 3


def test_the_state_of_an_available_version_has_a_status(server, channel):
    ok = {"error_code": "OK", "error_message": ""}
    expected = {"model_version_status": [{"version": "3", "state": "AVAILABLE", "status": ok}]}
    for path in (STATE, STATE + "/versions/3"):
        assert json.loads(raw_http.ask(server.rest_port, "GET", path).body) == expected
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "dsg"
    found = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request, timeout=60).model_version_status
    assert len(found) == 1 and found[0].HasField("status") and found[0].status.error_code == 0


def test_an_unavailable_server_says_when_to_come_back():
    response = rest._json(b"{}", Status("UNAVAILABLE", "the server is stopping"))  # pylint: disable=protected-access
    assert (response.status, response.headers["Retry-After"]) == (503, "1")


GET = b"GET /v1/models/dsg HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize(
    "length",
    [
        "Content-Length: -1",
        "Content-Length: +5",
        "Content-Length: 0x10",
        "Content-Length: 5, 5",
        "Content-Length:",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
    ],
)
def test_a_doubtful_length_ends_the_connection(server, length):
    """What follows is never taken for a request, whatever a proxy before us made of it."""
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\n{length}\r\n\r\nhello".encode()
    found, ended = raw_http.send(server.rest_port, head + GET, 1)
    assert [answer.status for answer in found] == [400] and ended
    assert list(json.loads(found[0].body)) == ["error"] and found[0].headers["Server"] == "dsg_tf"


def test_the_body_of_a_get_is_no_request(server):
    inner = GET.replace(b"dsg", b"inner")
    outer = GET[:-2] + f"Content-Length: {len(inner)}\r\n\r\n".encode() + inner
    found, _ = raw_http.send(server.rest_port, outer + GET, 2)
    assert [answer.status for answer in found] == [200, 200] and not any(b"inner" in answer.body for answer in found)


def test_head_has_no_body(server):
    found, ended = raw_http.send(server.rest_port, GET.replace(b"GET", b"HEAD") + GET, 2, without_body=True)
    assert [answer.status for answer in found] == [400, 200] and not ended
    assert json.loads(found[1].body)["model_version_status"]


@pytest.mark.parametrize("method, request_, code, part, _", GRPC_CASES)
def test_grpc_refuses_as_the_table_says(channel, method, request_, code, part, _):
    services = (prediction_service_pb2_grpc.PredictionServiceStub, model_service_pb2_grpc.ModelServiceStub)
    stub = next(service(channel) for service in services if hasattr(service(channel), method))
    with pytest.raises(grpc.RpcError) as caught:
        getattr(stub, method)(request_, timeout=60)
    assert caught.value.code().name == code and part in caught.value.details(), caught.value


@pytest.mark.parametrize("compression", list(grpc.Compression))
def test_grpc_takes_packed_messages_without_a_deadline(server, compression):
    with grpc.insecure_channel(server.address, compression=compression) as connected:
        found = prediction_service_pb2_grpc.PredictionServiceStub(connected).Predict(filtered("valid", "boxes"))
    assert set(found.outputs) == {"boxes", "valid"} and found.model_spec.version.value == 3
    assert (found.model_spec.name, found.model_spec.signature_name) == ("dsg", "serving_default")


def test_metrics_have_tf_servings_names(server, channel):
    prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(predict(), timeout=60)
    text = server.metrics()
    assert re.search(r':tensorflow:serving:request_count\{model_name="dsg",status="OK"\} [1-9]', text)
    bucket = r'request_latency_bucket\{API="Predict",entrypoint="GRPC",le="1e\+06",model_name="dsg"\} [1-9]'
    assert re.search(bucket, text)


def test_every_source_stands_in_the_documentation():
    with open(os.path.join(ROOT, "docs", "conformance.md"), encoding="utf-8") as file:
        text = file.read()
    different = re.findall(r"^\| ([^|]+) \|", text[text.index("## Different") :], re.MULTILINE)
    for source in {case.source for case in CASES} | {case[-1] for case in GRPC_CASES} | {FRAMING, TEXTS, METRICS}:
        assert f"`{source}`" in text if source.endswith(".cc") else source in different
