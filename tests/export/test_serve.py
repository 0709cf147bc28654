"""The local server and the client, as processes that talk over gRPC and HTTP."""

import base64
import concurrent.futures
import functools
import http.client
import json
import os
import re
import shutil

import commands
import grpc
import numpy as np
import pytest
import tensorflow as tf
import tiny_data
from grpc_health.v1 import health_pb2, health_pb2_grpc
from paths import ROOT
from pictures import FILES, QUERY
from PIL import Image
from server_process import QUERIES, assert_equal, refer_inputs, serving, words
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from dsg_tf.predict import asked, checkpoint_model
from dsg_tf.process import error_sentences
from export.dsg_client import DSGClient, RequestError

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def server(exported, tmp_path_factory):
    base = tmp_path_factory.mktemp("served") / "models"
    shutil.copytree(exported, base / "3")
    with serving(base, "--max_images=6", "--max_message_mib=2", "--max_queries=400") as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    with DSGClient(server.address) as connected:
        yield connected


@pytest.fixture(scope="module")
def signatures(exported):
    return tf.saved_model.load(exported).signatures


@pytest.mark.parametrize(
    "names, count",
    [
        (["jpeg"], 1),
        (["png", "cmyk", "exif"], 3),
        (["gray", "rgba", "narrow"], 0),
        (["palette"], 100),
        (["one pixel", "large", "gray jpeg"], 100),
    ],
)
def test_grpc_and_rest_give_what_the_saved_model_gives(server, client, signatures, names, count):
    files = [FILES[name] for name in names]
    queries = [QUERIES[k % len(QUERIES)] for k in range(count)]
    inputs = refer_inputs(files, queries)
    expected = {
        name: value.numpy()
        for name, value in signatures["refer"](
            **{name: tf.constant(value, tf.string, value.shape) for name, value in inputs.items()}
        ).items()
    }
    assert_equal(client.call("refer", inputs), expected)
    assert_equal(client.call("serving_default", inputs), expected)
    columns = {
        name: [row if isinstance(row, list) else {"b64": base64.b64encode(row).decode()} for row in value.tolist()]
        for name, value in inputs.items()
    }
    code, answer = server.rest("/v1/models/dsg:predict", {"inputs": columns, "signature_name": "refer"})
    assert code == 200
    assert_equal(
        {name: np.array(value).reshape(expected[name].shape) for name, value in answer["outputs"].items()}, expected
    )
    rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
    code, answer = server.rest("/v1/models/dsg/versions/3:predict", {"instances": rows})
    assert code == 200 and len(answer["predictions"]) == len(files)
    for number, row in enumerate(answer["predictions"]):
        assert_equal(
            {name: np.array(value).reshape(expected[name].shape[1:]) for name, value in row.items()},
            {name: value[number] for name, value in expected.items()},
        )


@pytest.mark.stack
def test_the_client_answers_as_the_checkpoint(client, model_dir):
    predictor = checkpoint_model.CheckpointModel.load(model_dir)
    queries = [", ".join(query) for query in QUERIES]
    expected = predictor.answer(FILES["large"], queries)
    encoded = client.encode(FILES["large"])
    for found in (client.ask(FILES["large"], queries), client.ask(encoded, queries)):
        assert [answer.query for answer in found] == queries
        for one, other in zip(found, expected):
            for role in ("subject", "object"):
                np.testing.assert_allclose(
                    getattr(one, f"{role}_boxes"), getattr(other, f"{role}_boxes"), atol=1e-3, rtol=1e-5
                )
                np.testing.assert_allclose(getattr(one, f"{role}_scores"), getattr(other, f"{role}_scores"), atol=1e-5)
    graph = client.scene_graph(FILES["large"])
    state = client.call("encode", {"image": np.array([FILES["large"]], object)})
    assert len(graph.entities) == state["valid"].sum() and set(graph.entities) <= set(tiny_data.VOCABULARY.entities)
    assert 0 < len(graph.relations) <= 5 and (np.diff(graph.relation_scores) <= 0).all()
    assert client.ask(FILES["png"], []) == []
    with pytest.raises(ValueError, match="'zebra' is not understood"):
        client.ask(FILES["png"], ["zebra"])


def test_the_client_asks_in_free_text_as_the_checkpoint(client, model_dir, monkeypatch):
    queries = ["a red thing left of the blue disc", "squares, to the left of, a disc", ", ".join(QUERY)]
    expected = checkpoint_model.CheckpointModel.load(model_dir).answer(FILES["png"], queries)
    for at_once in (64, 4):  # In one request, and in several about what the server made of the image.
        monkeypatch.setattr(asked, "AT_ONCE", at_once)
        for one, other in zip(client.ask(FILES["png"], queries), expected):
            assert (one.query, one.understood) == (other.query, other.understood)
            np.testing.assert_allclose(one.subject_scores, other.subject_scores, atol=1e-5)
            np.testing.assert_allclose(one.object_boxes, other.object_boxes, atol=1e-3)
    (one,) = client.ask(FILES["png"], queries[1:2])  # Three parts, but not of names: the server refuses them first.
    np.testing.assert_allclose(one.object_scores, expected[1].object_scores, atol=1e-5)
    with pytest.raises(ValueError, match="unknown object 'zebra'"):
        client.ask(FILES["png"], ["a square left of a zebra"])


@pytest.mark.parametrize(
    "change, code, message",
    [
        ({"model": "other"}, "NOT_FOUND", "Latest(other)"),
        ({"version": 9}, "NOT_FOUND", "Specific(dsg, 9)"),
        ({"label": "stable"}, "INVALID_ARGUMENT", "label: stable"),
        ({"signature": "classify"}, "FAILED_PRECONDITION", '"classify" not found'),
        ({"image": None}, "INVALID_ARGUMENT", "Missing but required: {image}"),
        ({"picture": np.zeros(1)}, "INVALID_ARGUMENT", "Sent extra: {picture}"),
        ({"image": np.zeros([1], np.float32)}, "INVALID_ARGUMENT", "input image is float32, not string"),
        ({"image": np.array([[b"x"]], object)}, "INVALID_ARGUMENT", r"input image has shape [1, 1], not [None]"),
        ({"subject": np.array(b"x", object)}, "INVALID_ARGUMENT", "input subject has shape [], not [None, None]"),
        ({"subject": np.array([["zebra"]], object)}, "INVALID_ARGUMENT", "query 0 of image 0: unknown subject 'zebra'"),
        ({"image": np.array([b"no image"], object)}, "INVALID_ARGUMENT", "image 0 of the batch is not a JPEG"),
        ({"image": np.array([FILES["png"]] * 2, object)}, "INVALID_ARGUMENT", "there are 2 images and queries for 1"),
        ({"image": np.array([FILES["png"]] * 7, object)}, "RESOURCE_EXHAUSTED", "7 images, more than 6"),
        (words(1, QUERIES * 200), "RESOURCE_EXHAUSTED", "1 x 600 queries, more than 400"),
        ({"image": np.array([bytes(3 * 2**20)], object)}, "RESOURCE_EXHAUSTED", "larger than max"),
        ({"timeout": 0.0001}, "DEADLINE_EXCEEDED", ""),
    ],
)
def test_what_is_wrong_is_named_and_the_server_goes_on(server, client, change, code, message):
    connection = {key: change[key] for key in ("model", "version", "label", "timeout") if key in change}
    inputs = {
        **refer_inputs([FILES["png"]], [QUERY]),
        **{k: v for k, v in change.items() if k not in (*connection, "signature")},
    }
    with DSGClient(server.address, **connection) as asking, pytest.raises(RequestError) as caught:
        asking.call(change.get("signature", "refer"), {k: v for k, v in inputs.items() if v is not None})
    assert caught.value.code == code and message in caught.value.message
    assert client.ask(FILES["png"], [", ".join(QUERY)])


def test_a_small_message_cannot_ask_for_much_memory(server):
    """A tensor may be announced by its shape and one value."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "dsg"
    for name, value in refer_inputs([FILES["png"]], [QUERY]).items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    request.inputs["subject"].tensor_shape.dim[1].size = 2**40
    with grpc.insecure_channel(server.address) as channel, pytest.raises(grpc.RpcError) as caught:
        prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=30)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    "path, body, code, message",
    [
        ("/v1/models/dsg:predict", b"{", 400, "JSON Parse error"),
        ("/v1/models/dsg:predict", b"[" * 100000, 400, "JSON Parse error"),
        ("/v1/models/dsg:predict", [], 400, "Is not object"),
        ("/v1/models/dsg:predict", {}, 400, "Missing 'inputs' or 'instances' key"),
        ("/v1/models/dsg:predict", {"inputs": 5}, 400, "expecting an object with image, object, relation, subject"),
        ("/v1/models/dsg:predict", {"instances": []}, 400, "at least one element"),
        ("/v1/models/dsg:predict", {"instances": [{"image": "a"}, {"subject": "b"}]}, 400, "element: 0"),
        (
            "/v1/models/dsg:predict",
            {"instances": [{"image": "a"}]},
            400,
            "keys must be equal to: image,object,relation,subject",
        ),
        (
            "/v1/models/dsg:predict",
            {"inputs": [1], "signature_name": "encode"},
            400,
            "1 is not of expected type: string",
        ),
        (
            "/v1/models/dsg:predict",
            {"inputs": [{"b64": "?"}], "signature_name": "encode"},
            400,
            "Unable to base64 decode",
        ),
        ("/v1/models/dsg:predict", {"inputs": ["a", ["b"]], "signature_name": "encode"}, 400, "not of expected type"),
        ("/v1/models/dsg:predict", {"inputs": [["a"], "b"], "signature_name": "encode"}, 400, "unexpected level: 1"),
        ("/v1/models/dsg:predict", {"inputs": ["a"], "signature_name": "x"}, 400, '"x" not found'),
        ("/v1/models/other:predict", {"inputs": ["a"]}, 404, "Latest(other)"),
        ("/v1/models/dsg/labels/stable:predict", {"inputs": ["a"]}, 400, "label: stable"),
        ("/v1/models/dsg/versions/99999999999999999999:predict", {"inputs": ["a"]}, 400, "to numeric"),
        ("/v1/models/dsg:classify", {"inputs": ["a"]}, 400, "'examples' is expected"),
        ("/v1/models/dsg/versions/4", None, 404, "Could not find version 4 of model dsg"),
        ("/v1/x", None, 400, "Malformed request: GET /v1/x"),
        ("/v2", None, 404, "Not Found"),
    ],
)
def test_rest_errors(server, path, body, code, message):
    found = server.rest(path, body)
    assert found[0] == code and message in found[1]["error"]


def test_rest_bounds_the_body_before_it_reads_it(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=30)
    connection.putrequest("POST", "/v1/models/dsg:predict")
    connection.putheader("Content-Length", str(2**40))
    connection.endheaders()
    response = connection.getresponse()
    assert response.status == 429 and b"more than 2097152" in response.read()


def test_status_metadata_health_and_counters(server, client):
    client.ask(FILES["png"], [", ".join(QUERY)])
    with grpc.insecure_channel(server.address) as channel:
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = "dsg"
        metadata = prediction_service_pb2_grpc.PredictionServiceStub(channel).GetModelMetadata(request, timeout=30)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        assert metadata.metadata["signature_def"].Unpack(signatures) and metadata.model_spec.version.value == 3
        assert set(signatures.signature_def) == {
            "serving_default",
            "refer",
            "encode",
            "answer",
            "refer_ids",
            "words",
            "scene_graph",
            "__saved_model_init_op",
        }
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "dsg"
        status = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request, timeout=30)
        available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
        assert [(item.version, item.state) for item in status.model_version_status] == [(3, available)]
        check = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
        assert check.status == health_pb2.HealthCheckResponse.SERVING
    assert server.rest("/v1/models/dsg")[1]["model_version_status"] == [
        {"version": "3", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    ]
    described = server.rest("/v1/models/dsg/metadata")[1]["metadata"]["signature_def"]["signature_def"]
    assert described["encode"]["inputs"]["image"]["dtype"] == "DT_STRING"
    with DSGClient(server.address, label="stable") as asking, pytest.raises(RequestError):
        asking.call("any text at all", {})
    assert re.search(r'dsg_requests_total\{code="OK",signature="refer"\} [1-9]', server.metrics())
    assert "any text at all" not in server.metrics()
    assert re.search(
        r"ipv4:127.0.0.1:\d+ refer OK [\d.]+ ms \(queue [\d.]+, run [\d.]+\): 1 images, 1 queries, version 3",
        server.text(),
    )


def test_requests_that_share_a_batch_do_not_share_errors(server, client):
    """Good and bad requests with other images and other numbers of queries, all at once."""
    alone = {
        name: client.call("refer", refer_inputs([FILES[name]], QUERIES[:count]))
        for count, name in enumerate(["jpeg", "large", "rgba", "narrow"])
    }

    def one(number):
        name = list(alone)[number % 4]
        if number % 3 == 0:
            with pytest.raises(RequestError, match="image 0 of the batch is not"):
                client.call("refer", refer_inputs([b"bad"], QUERIES[:2]))
        else:
            count = list(alone).index(name)
            assert_equal(client.call("refer", refer_inputs([FILES[name]], QUERIES[:count])), alone[name])

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        list(pool.map(one, range(48)))
    text = server.metrics()
    batches, images = (
        float(re.search(rf"dsg_batch_images_{kind} ([\d.]+)", text).group(1)) for kind in ("count", "sum")
    )
    assert images > batches  # Some did share a batch.


def test_the_client_program_prints_and_draws(server, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(FILES["large"])
    ask = functools.partial(commands.run, "export.client", server=server.address, image=tmp_path / "photo.jpg")
    queries = [", ".join(QUERY), "blue disc, above, red disc"]
    done = ask(query=queries, output=tmp_path / "out.png", json=True)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["query"] for row in rows] == queries and len(rows[0]["subject_boxes"][0]) == 4
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.width > 400
    words = tmp_path / "aliases.json"
    words.write_text('{"entities": [["red square", "tile"]]}')
    done = ask(query="the tile to the left of a disc", aliases=words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("the tile to the left of a disc")
    assert "\n  understood: tile: red square; to left of: left; disc: red disc, blue disc\n" in done.stdout
    done = ask(scene_graph=True, output=tmp_path / "graph.png")
    assert done.returncode == 0 and re.search(r"1 \w+ \w+ +\[", done.stdout), done.stderr
    assert os.path.getsize(tmp_path / "graph.png") > 1000
    done = ask(query="zebra, left, blue disc")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "client: INVALID_ARGUMENT: query 0 of image 0: unknown subject 'zebra'; the vocabulary has red square, "
    )


def test_a_server_that_is_not_there_is_an_error_for_users():
    with DSGClient("127.0.0.1:1", timeout=5) as asking, pytest.raises(RequestError, match="^UNAVAILABLE: ") as caught:
        asking.ask(FILES["png"], [", ".join(QUERY)])
    assert error_sentences.is_for_users(caught.value)


def test_the_example_of_the_readme(server, tmp_path, monkeypatch, capsys):
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
        example = re.search(r"```python\n(.*?)```", file.read(), re.DOTALL).group(1)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.png").write_bytes(FILES["png"])
    query = "red rubber cube, left, blue metal sphere"
    assert query in example and "localhost:8500" in example
    exec(example.replace(query, ", ".join(QUERY)).replace("localhost:8500", server.address))  # pylint: disable=exec-used
    assert re.match(re.escape(", ".join(QUERY)) + r" [\d.e-]+ \[\[", capsys.readouterr().out)
