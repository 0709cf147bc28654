"""Requests over REST, and what TF Serving and the local server answer to them."""

import base64
import gzip
import json
from typing import NamedTuple

from pictures import FILES, QUERY
from tf_serving_sources import (
    CLASSIFIER,
    CORE,
    EVHTTP,
    GZIP,
    HANDLER,
    INITIAL,
    JSON,
    METADATA,
    NUMBERS,
    PACKED,
    REGRESSOR,
    SERVER,
    STATUS,
    TOO_LARGE,
    TWICE,
    UNICODE,
    UNKNOWN_PATH,
    UTIL,
)

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
