"""TF Serving's requests and answers, as its source has them, hold for the local server: what is equal, what is not.

Each case has its place in `docs/conformance.md`: the file of TF Serving that decides it (below tensorflow_serving/), or
the row of the table of differences.
"""

import base64
import gzip
import json
import os
import re
import shutil
from typing import NamedTuple

import grpc
import numpy as np
import pytest
import raw_http
import tensorflow as tf
from paths import ROOT
from pictures import FILES, QUERY
from server_process import refer_inputs, serving
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from export.serving import rest
from export.serving.status import Status

pytestmark = pytest.mark.process

# The source: files of TF Serving, ...
SERVER, HANDLER, UTIL = (
    f"model_servers/{name}.cc" for name in ("http_server", "http_rest_api_handler", "http_rest_api_util")
)
JSON, GZIP, EVHTTP = (
    "util/json_tensor.cc",
    "util/net_http/server/internal/evhttp_request.cc",
    "util/net_http/server/internal/evhttp_server.cc",
)
STATUS, CORE = "model_servers/get_model_status_impl.cc", "model_servers/server_core.cc"
PREDICT_IMPL, PREDICT_UTIL, METADATA, CLASSIFIER, REGRESSOR, INFERENCE = (
    f"servables/tensorflow/{name}.cc"
    for name in (
        "predict_impl",
        "predict_util",
        "get_model_metadata_impl",
        "classifier",
        "regressor",
        "multi_inference",
    )
)
# ... or what differs: the first column of its table.
FRAMING, TEXTS, NUMBERS = "framing of HTTP", "form of JSON", "numbers that are not finite"
UNICODE, TWICE, UNKNOWN_PATH, PACKED = "not UTF-8", "a key twice", "unknown path", "packed without saying so"
TOO_LARGE, INITIAL, RELOADING, METRICS = "too large or too much", "the initial operation", "reload", "metrics"

PREDICT, STATE = "/v1/models/dsg:predict", "/v1/models/dsg"
PNG = base64.b64encode(FILES["png"]).decode()


def encode(inputs=None, key="inputs", **more) -> bytes:
    """The body of a request for `encode`, which takes one input."""
    return json.dumps({"signature_name": "encode", key: [{"b64": PNG}] if inputs is None else inputs, **more}).encode()


ROW = {"image": {"b64": PNG}, "subject": [QUERY[0]], "relation": [QUERY[1]], "object": [QUERY[2]]}
COLUMNS = {name: [value] for name, value in ROW.items()}
REFER = json.dumps({"inputs": COLUMNS}).encode()


class Case(NamedTuple):
    """A request; the answer's code and a part of its body (b"": any)."""

    name: str
    method: str
    path: str
    body: bytes | None
    status: int
    part: bytes
    source: str
    headers: dict = {}


CASES = [
    # Paths.
    Case("predict", "POST", PREDICT, REFER, 200, b'{"outputs":{', JSON),
    Case("rows", "POST", PREDICT, json.dumps({"instances": [ROW]}).encode(), 200, b'{"predictions":[{', JSON),
    Case("version", "POST", "/v1/models/dsg/versions/3:predict", encode(), 200, b'{"outputs":{', UTIL),
    Case("upper case path", "POST", "/V1/Models/dsg/VERSIONS/3:predict", encode(), 200, b'{"outputs":{', UTIL),
    Case("quoted name", "POST", "/v1/models/%64sg:predict", encode(), 200, b'{"outputs":{', UTIL),
    Case("upper case method", "POST", "/v1/models/dsg:PREDICT", encode(), 400, b"Malformed request: POST", HANDLER),
    Case("upper case metadata", "GET", "/v1/models/dsg/METADATA", None, 200, b'"AVAILABLE"', HANDLER),
    Case("query, POST", "POST", PREDICT + "?a=b", encode(), 400, b"Malformed request: POST", HANDLER),
    Case("query, GET", "GET", STATE + "?a=b", None, 404, b"Could not find any versions of model dsg?a=b", UTIL),
    Case("query, metrics", "GET", "/monitoring/prometheus/metrics?a=b", None, 400, b"Unexpected path", SERVER),
    Case("metrics", "GET", "/monitoring/prometheus/metrics", None, 200, b":tensorflow:serving:request_count", SERVER),
    Case("metrics, POST", "POST", "/monitoring/prometheus/metrics", b"", 200, b"", SERVER),
    Case("no name", "GET", "/v1/models", None, 400, b"Missing model name in request.", HANDLER),
    Case("no name, version", "GET", "/v1/models/versions/3", None, 400, b"Missing model name in request.", UTIL),
    Case("empty name", "GET", "/v1/models/", None, 400, b"Malformed request: GET /v1/models/", UTIL),
    Case("empty name, POST", "POST", "/v1/models/:predict", encode(), 400, b"Malformed request: POST", UTIL),
    Case("no method", "POST", STATE, encode(), 400, b"Malformed request: POST", UTIL),
    Case("other method", "POST", "/v1/models/dsg:explain", encode(), 400, b"Malformed request: POST", UTIL),
    Case("other resource", "GET", "/v1/models/dsg/graph", None, 400, b"Malformed request: GET", UTIL),
    Case("GET predict", "GET", PREDICT, None, 400, b"Malformed request: GET", UTIL),
    Case("unknown path", "GET", "/v2/models/dsg", None, 404, b"Not Found", EVHTTP),
    Case("root", "GET", "/", None, 404, b"Not Found", EVHTTP),
    Case("unknown path, POST", "POST", "/predict", encode(), 404, b"Not Found", UNKNOWN_PATH),
    *(
        Case(verb, verb, STATE, None, 400, f"Malformed request: {verb} {STATE}".encode(), HANDLER)
        for verb in ("OPTIONS", "PUT", "DELETE", "PATCH")
    ),
    # Models, versions, labels, signatures.
    Case("model", "POST", "/v1/models/a:predict", encode(), 404, b"Servable not found for request: Latest(a)", CORE),
    Case("version", "POST", "/v1/models/dsg/versions/9:predict", encode(), 404, b"Specific(dsg, 9)", CORE),
    Case("label", "POST", "/v1/models/dsg/labels/a:predict", encode(), 400, b"Unrecognized servable version", CORE),
    Case("large version", "GET", f"{STATE}/versions/{2**63}", None, 400, b"Failed to convert version: 9223", UTIL),
    Case("state, model", "GET", "/v1/models/a", None, 404, b"Could not find any versions of model a", STATUS),
    Case("state, version", "GET", f"{STATE}/versions/9", None, 404, b"Could not find version 9 of model dsg", STATUS),
    Case("state, label", "GET", f"{STATE}/labels/any", None, 200, b'"AVAILABLE"', STATUS),
    Case("metadata, model", "GET", "/v1/models/a/metadata", None, 404, b"Servable not found for request", METADATA),
    Case("signature", "POST", PREDICT, encode(signature_name="a"), 400, b'name: \\"a\\" not found in', HANDLER),
    Case("no text", "POST", PREDICT, encode(signature_name=5), 400, b"'signature_name' key must be a string", JSON),
    Case("initial operation", "POST", PREDICT, encode(signature_name="__saved_model_init_op"), 400, b"", INITIAL),
    # JSON.
    Case("no body", "POST", PREDICT, b"", 400, b"JSON Parse error: The document is empty", JSON),
    Case("no JSON", "POST", PREDICT, b"{", 400, b"JSON Parse error", JSON),
    Case("more after it", "POST", PREDICT, encode() + b"{}", 400, b"JSON Parse error", JSON),
    Case("a mark before it", "POST", PREDICT, b"\xef\xbb\xbf" + encode(), 200, b'{"outputs":{', JSON),
    Case("no object", "POST", PREDICT, b"[]", 400, b"Is not object", JSON),
    Case("half a character", "POST", PREDICT, encode("\ud800"), 400, b"JSON Parse error", JSON),
    Case("not UTF-8", "POST", PREDICT, b'{"inputs":"\xff"}', 400, b"JSON Parse error", UNICODE),
    Case("65 levels", "POST", PREDICT, encode(json.loads("[" * 65 + "]" * 65)), 400, b"", JSON),
    Case("2,000 levels", "POST", PREDICT, b'{"inputs":' + b"[" * 2000 + b"]" * 2000 + b"}", 400, b"", JSON),
    Case("NaN", "POST", PREDICT, b'{"inputs":[NaN]}', 400, b"JSON Parse error", NUMBERS),
    Case("Infinity", "POST", PREDICT, b'{"inputs":[-Infinity]}', 400, b"JSON Parse error", NUMBERS),
    Case("twice", "POST", PREDICT, encode([6]).replace(b"{", b'{"inputs":[5],'), 400, b"6 is not of expected", TWICE),
    # Inputs.
    Case("no inputs", "POST", PREDICT, b"{}", 400, b"Missing 'inputs' or 'instances' key", JSON),
    Case("both", "POST", PREDICT, encode(instances=[]), 400, b"only one of 'inputs' or 'instances' keys", JSON),
    Case("no rows", "POST", PREDICT, encode([], "instances"), 400, b"'instances'", JSON),
    Case("rows are no list", "POST", PREDICT, encode({}, "instances"), 400, b"'instances'", JSON),
    Case("plain columns", "POST", PREDICT, b'{"inputs":[1]}', 400, b"inputs is a plain value/list, but expec", JSON),
    Case("plain rows", "POST", PREDICT, b'{"instances":[1]}', 400, b"instances is a plain list, but expecting", JSON),
    Case("one named", "POST", PREDICT, encode({"image": [{"b64": PNG}]}), 200, b'{"outputs":{', JSON),
    Case("missing", "POST", PREDICT, b'{"inputs":{"image":[]}}', 400, b"Missing named input: object in 'inp", JSON),
    Case("extra column", "POST", PREDICT, json.dumps({"inputs": {**COLUMNS, "a": 1}}).encode(), 200, b"outputs", JSON),
    Case(
        "extra in a row",
        "POST",
        PREDICT,
        json.dumps({"instances": [{**ROW, "a": 1}]}).encode(),
        400,
        b"Failed to process element: 0",
        JSON,
    ),
    Case(
        "rows of two kinds",
        "POST",
        PREDICT,
        encode([{"image": {"b64": PNG}}, {"b64": PNG}], "instances"),
        400,
        b"1",
        JSON,
    ),
    Case("ragged", "POST", PREDICT, encode([["a"], "b"]), 400, b"", JSON),
    Case("a number for text", "POST", PREDICT, encode([1]), 400, b"1 is not of expected type: string", JSON),
    Case(
        "a whole number too many",
        "POST",
        PREDICT,
        b'{"signature_name":"refer_ids","inputs":{"image":[],"queries":[],"image_size":[[16777216,1]]}}',
        400,
        b"without loss of precision",
        JSON,
    ),
    # Base64.
    Case("blanks", "POST", PREDICT, encode([{"b64": f" {PNG[:9]}\r\n\t{PNG[9:]}"}]), 200, b'{"outputs":{', JSON),
    Case("no padding", "POST", PREDICT, encode([{"b64": PNG.rstrip("=")}]), 200, b'{"outputs":{', JSON),
    Case("half a padding", "POST", PREDICT, encode([{"b64": "QQ="}]), 400, b"Unable to base64 decode", JSON),
    Case("too much padding", "POST", PREDICT, encode([{"b64": PNG.rstrip("=") + "===="}]), 400, b"base64", JSON),
    Case("one letter", "POST", PREDICT, encode([{"b64": "QUJDR"}]), 400, b"Unable to base64 decode", JSON),
    Case("of URLs", "POST", PREDICT, encode([{"b64": "_-__"}]), 400, b"Unable to base64 decode", JSON),
    # Other methods of TF Serving.
    Case(
        "classify",
        "POST",
        "/v1/models/dsg:classify",
        b'{"examples":[{"a":1}]}',
        400,
        b"to be tensorflow/serving/classify. Was: tensorflow/serving/predict",
        CLASSIFIER,
    ),
    Case(
        "regress",
        "POST",
        "/v1/models/dsg:regress",
        b'{"examples":[{"a":1}]}',
        400,
        b"to be tensorflow/serving/regress. Was: tensorflow/serving/predict",
        REGRESSOR,
    ),
    Case("classify nothing", "POST", "/v1/models/dsg:classify", b"{}", 400, b"key 'examples' is expected", JSON),
    Case("regress nothing", "POST", "/v1/models/dsg:regress", b"{}", 400, b"key 'examples' is expected", JSON),
    Case(
        "classify as what",
        "POST",
        "/v1/models/dsg:classify",
        b'{"examples":[{}],"signature_name":"a"}',
        400,
        b"No signature was found with the name: a",
        CLASSIFIER,
    ),
    Case("classify with whom", "POST", "/v1/models/a:classify", b'{"examples":[{}]}', 404, b"Latest(a)", CLASSIFIER),
    # Bodies.
    Case("gzip", "POST", PREDICT, gzip.compress(encode()), 200, b'{"outputs":{', GZIP, {"Content-Encoding": "gzip"}),
    Case("gzip, unsaid", "POST", PREDICT, gzip.compress(encode()), 200, b'{"outputs":{', PACKED),
    Case("no gzip", "POST", PREDICT, encode(), 200, b'{"outputs":{', PACKED, {"Content-Encoding": "gzip"}),
    Case("half of gzip", "POST", PREDICT, gzip.compress(encode())[:-9], 400, b"", GZIP, {"Content-Encoding": "gzip"}),
    Case("other type", "POST", PREDICT, encode(), 200, b'{"outputs":{', HANDLER, {"Content-Type": "text/plain"}),
    Case("too many", "POST", PREDICT, encode([{"b64": PNG}] * 7), 429, b"7 images, more than 6", TOO_LARGE),
]


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
    request = _predict("dsg", "refer")
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


def _predict(model="dsg", signature="", **change) -> predict_pb2.PredictRequest:
    """A Predict with other inputs where `change` says so, or without them (None)."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    inputs = {**refer_inputs([FILES["png"]], [QUERY]), **change}
    for name, value in inputs.items():
        if value is not None:
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def _filtered(*names):
    request = _predict()
    request.output_filter.extend(names)
    return request


def _of_model(kind, **spec):
    request = kind()
    request.model_spec.SetInParent()
    for name, value in spec.items():
        setattr(request.model_spec, name, value)
    return request


def _metadata(*fields, name="dsg"):
    request = _of_model(get_model_metadata_pb2.GetModelMetadataRequest, name=name)
    request.metadata_field.extend(fields)
    return request


def _inference(method, name="dsg", signature=""):
    request = inference_pb2.MultiInferenceRequest()
    task = request.tasks.add(method_name=method)
    task.model_spec.name, task.model_spec.signature_name = name, signature
    return request


CLASSIFY, REGRESS = classification_pb2.ClassificationRequest, regression_pb2.RegressionRequest
STATUS_REQUEST, RELOAD_REQUEST = get_model_status_pb2.GetModelStatusRequest, model_management_pb2.ReloadConfigRequest
MISSING, NAMELESS = "Missing ModelSpec", "ModelSpec has no name specified."
WAS = "Was: tensorflow/serving/predict"


GRPC_CASES = [
    ("Predict", predict_pb2.PredictRequest(), "INVALID_ARGUMENT", MISSING, PREDICT_IMPL),
    ("Predict", _predict(""), "INVALID_ARGUMENT", NAMELESS, CORE),
    ("Predict", _predict("a"), "NOT_FOUND", "Servable not found for request: Latest(a)", CORE),
    ("Predict", _predict("dsg", "a"), "FAILED_PRECONDITION", 'signature key "a" not found.', PREDICT_UTIL),
    ("Predict", _predict("dsg", "__saved_model_init_op"), "FAILED_PRECONDITION", "not found.", INITIAL),
    ("Predict", _predict(image=None), "INVALID_ARGUMENT", "Missing but required: {image}", PREDICT_UTIL),
    ("Predict", _predict(a=1), "INVALID_ARGUMENT", "Sent extra: {a}", PREDICT_UTIL),
    ("Predict", _predict(a=1, image=None), "INVALID_ARGUMENT", "{a}", PREDICT_UTIL),
    ("Predict", _predict(image=1.0), "INVALID_ARGUMENT", "image", PREDICT_UTIL),
    ("Predict", _filtered("boxes", "a"), "INVALID_ARGUMENT", "output tensor alias not found in", PREDICT_UTIL),
    ("Predict", _filtered("boxes", "boxes"), "INVALID_ARGUMENT", "duplicate output tensor alias", PREDICT_UTIL),
    ("Classify", CLASSIFY(), "INVALID_ARGUMENT", MISSING, CLASSIFIER),
    ("Classify", _of_model(CLASSIFY), "INVALID_ARGUMENT", NAMELESS, CORE),
    ("Classify", _of_model(CLASSIFY, name="dsg"), "INVALID_ARGUMENT", WAS, CLASSIFIER),
    ("Classify", _of_model(CLASSIFY, name="dsg", signature_name="a"), "INVALID_ARGUMENT", "No sign", CLASSIFIER),
    ("Regress", REGRESS(), "INVALID_ARGUMENT", MISSING, REGRESSOR),
    ("Regress", _of_model(REGRESS, name="dsg"), "INVALID_ARGUMENT", WAS, REGRESSOR),
    ("MultiInference", inference_pb2.MultiInferenceRequest(), "INVALID_ARGUMENT", NAMELESS, INFERENCE),
    ("MultiInference", _inference("tensorflow/serving/classify"), "INVALID_ARGUMENT", WAS, INFERENCE),
    ("MultiInference", _inference("tensorflow/serving/regress"), "INVALID_ARGUMENT", "regress", INFERENCE),
    ("MultiInference", _inference("tensorflow/serving/predict"), "UNIMPLEMENTED", "Unsupported", INFERENCE),
    ("MultiInference", _inference("classify"), "UNIMPLEMENTED", "Unsupported", INFERENCE),
    ("MultiInference", _inference("tensorflow/serving/classify", "a"), "NOT_FOUND", "Latest(a)", INFERENCE),
    ("GetModelMetadata", get_model_metadata_pb2.GetModelMetadataRequest(), "INVALID_ARGUMENT", MISSING, METADATA),
    ("GetModelMetadata", _metadata(), "INVALID_ARGUMENT", "at least one metadata_field", METADATA),
    ("GetModelMetadata", _metadata("a"), "INVALID_ARGUMENT", "is not supported", METADATA),
    ("GetModelMetadata", _metadata("signature_def", name=""), "INVALID_ARGUMENT", NAMELESS, CORE),
    ("GetModelStatus", STATUS_REQUEST(), "INVALID_ARGUMENT", MISSING, STATUS),
    ("GetModelStatus", _of_model(STATUS_REQUEST), "NOT_FOUND", "Could not find any versions of model ", STATUS),
    ("HandleReloadConfigRequest", RELOAD_REQUEST(), "PERMISSION_DENIED", "--allow_reload", RELOADING),
]


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
        found = prediction_service_pb2_grpc.PredictionServiceStub(connected).Predict(_filtered("valid", "boxes"))
    assert set(found.outputs) == {"boxes", "valid"} and found.model_spec.version.value == 3
    assert (found.model_spec.name, found.model_spec.signature_name) == ("dsg", "serving_default")


def test_metrics_have_tf_servings_names(server, channel):
    prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(_predict(), timeout=60)
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
