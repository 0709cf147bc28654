"""The client's connection: time limits, tokens, TLS, and the words of a model; against a server of a few lines."""

import concurrent.futures
import contextlib
import json

import commands
import grpc
import numpy as np
import pytest
import tensorflow as tf
from certificates import make_certificate
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from dsg_tf.data.scene import Vocabulary
from export import connection
from export.dsg_client import DSGClient, RequestError

WORDS = {"entities": [b"red square", "Käse".encode()], "relations": [b"left"]}


class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers `words` as TF Serving with batching does, and keeps what came with each call."""

    def __init__(self, known=True):
        self.known, self.calls = known, []

    def Predict(self, request, context):
        self.calls.append((dict(context.invocation_metadata()), context.time_remaining()))
        if not self.known:
            name = request.model_spec.signature_name
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
        if set(request.output_filter) in ({*WORDS}, set()):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Batching Run() must have at least one input tensor")
        response = predict_pb2.PredictResponse()
        for name in request.output_filter:
            response.outputs[name].CopyFrom(tf.make_tensor_proto(np.array(WORDS[name], object)))
        return response


@contextlib.contextmanager
def serving(service, credentials=None):
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    add = server.add_insecure_port if credentials is None else server.add_secure_port
    port = add("localhost:0", *([credentials] if credentials else []))
    server.start()
    try:
        yield f"localhost:{port}"
    finally:
        server.stop(None).wait()


def test_the_words_come_output_by_output_as_batching_lets_them_pass():
    with serving(Service()) as address, DSGClient(address) as client:
        assert client.words() == Vocabulary(("red square", "Käse"), ("left",))


def test_a_model_without_words_is_an_error_that_says_so():
    with (
        serving(Service(known=False)) as address,
        DSGClient(address) as client,
        pytest.raises(RequestError, match="FAILED_PRECONDITION: the model was exported without its words") as caught,
    ):
        client.words()
    assert caught.value.code == "FAILED_PRECONDITION"


def test_free_text_needs_the_words_of_the_model():
    with serving(Service(known=False)) as address, DSGClient(address) as client:
        with pytest.raises(ValueError, match="three parts with commas between them; 'Käse left' has 1$"):
            client.ask(b"", ["Käse left"])
    service = Service()
    with serving(service) as address, DSGClient(address) as client:
        for _ in range(2):
            with pytest.raises(ValueError, match="'Käse left' has no object after 'left'"):
                client.ask(b"", ["Käse left"])
    assert len(service.calls) == 2  # They are asked for once, entities and relations.


def test_every_call_carries_the_token():
    service = Service()
    with serving(service) as address, DSGClient(address, token="s3cret") as client:
        client.words()
    assert [call["authorization"] for call, _ in service.calls] == ["Bearer s3cret"] * 2
    with serving(service) as address, DSGClient(address) as client:
        client.words()
    assert "authorization" not in service.calls[-1][0]


@pytest.mark.parametrize(
    "given, limit", [(None, None), (float("inf"), None), (1e10, None), (1e8, 1e8), (30, 30), (0.001, 0.001)]
)
def test_time_limits(given, limit):
    assert connection.time_limit(given, "timeout") == limit


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("-inf")])
def test_what_is_no_time_is_refused(seconds):
    with pytest.raises(ValueError, match="--deadline=.* must be a number of seconds above 0; inf: no limit"):
        connection.time_limit(seconds, "--deadline")
    with pytest.raises(ValueError, match="^timeout="):
        DSGClient("localhost:1", timeout=seconds)


def test_no_limit_is_no_deadline_of_the_call():
    service = Service()
    with serving(service) as address:
        for timeout in (None, float("inf"), 1e10, 20.0):
            with DSGClient(address, timeout=timeout) as client:
                client.words()
    # gRPC gives the longest time it knows where there is no deadline.
    remaining = [seconds for _, seconds in service.calls[::2]]
    assert all(seconds is None or seconds > 1e8 for seconds in remaining[:3]) and 10 < remaining[3] < 21


@pytest.mark.parametrize(
    "server, is_this_machine",
    [
        ("localhost:8500", True),
        ("LOCALHOST", True),
        ("127.0.0.1:8500", True),
        ("127.8.8.8:1", True),
        ("[::1]:8500", True),
        ("ipv4:127.0.0.1:8500", True),
        ("ipv6:[::1]:8500", True),
        ("dns:///localhost:8500", True),
        ("unix:/tmp/socket", True),
        ("10.0.0.1:8500", False),
        ("example.org:8500", False),
        ("localhost.example.org:8500", False),
        ("127.0.0.1.example.org:8500", False),
        ("dns://example.org/localhost:8500", False),
        ("ipv4:127.0.0.1:8500,10.0.0.1:8500", False),
        ("[::2]:8500", False),
        ("0.0.0.0:8500", False),
        ("", False),
    ],
)
def test_a_token_in_clear_stays_on_this_machine(server, is_this_machine):
    sent = [("authorization", "Bearer s3cret")]
    assert connection.metadata(server, "s3cret", encrypted=True) == sent
    assert connection.metadata(server, "", encrypted=False) == []
    if is_this_machine:
        assert connection.metadata(server, "s3cret", encrypted=False) == sent
    else:
        with pytest.raises(ValueError, match="a token is not sent to .* without TLS") as caught:
            DSGClient(server, token="s3cret")
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "ä"])
def test_what_is_no_token_is_refused_unseen(token):
    with pytest.raises(ValueError, match="the token has blanks, line breaks") as caught:
        connection.metadata("localhost:1", token, encrypted=True)
    assert token not in str(caught.value)


def test_mutual_tls(tmp_path):
    key, certificate = (path.read_bytes() for path in make_certificate(tmp_path, "server"))
    own_key, own_certificate = (path.read_bytes() for path in make_certificate(tmp_path, "client"))
    credentials = grpc.ssl_server_credentials([(key, certificate)], own_certificate, require_client_auth=True)
    service = Service()
    with serving(service, credentials) as address:
        with DSGClient(
            address, tls_roots=certificate, tls_key=own_key, tls_certificate=own_certificate, token="s3cret"
        ) as client:
            assert client.words().relations == ("left",)
        assert service.calls[-1][0]["authorization"] == "Bearer s3cret"
        with DSGClient(address, tls_roots=certificate, timeout=5) as client, pytest.raises(RequestError):
            client.words()
    with pytest.raises(ValueError, match="tls_key and tls_certificate go together"):
        DSGClient("localhost:1", tls_key=own_key)


@pytest.mark.process
def test_the_program_prints_the_words(tmp_path):
    (tmp_path / "token").write_text("s3cret\n")
    service = Service()
    with serving(service) as address:
        done = commands.run("export.client", server=address, words=True, token_file=tmp_path / "token", deadline="inf")
        assert done.returncode == 0, done.stderr
        assert done.stdout == "entities\n  red square\n  Käse\nrelations\n  left\n"
        assert service.calls[-1][0]["authorization"] == "Bearer s3cret"
        done = commands.run("export.client", server=address, words=True, json=True)
    assert json.loads(done.stdout) == {"entities": ["red square", "Käse"], "relations": ["left"]}


@pytest.mark.process
@pytest.mark.parametrize(
    "flags, sentence",
    [
        ({"words": True, "deadline": "nan"}, "--deadline=nan must be a number of seconds above 0; inf: no limit"),
        ({"words": True, "output": "out.png"}, "--output=out.png is for answers about a picture; --words has none"),
        ({"words": True, "tls_key": "a.pem"}, "--tls_key=a.pem and --tls_certificate= go together"),
        ({"scene_graph": True}, "--image is missing: the picture that is asked about"),
    ],
)
def test_the_program_says_what_its_flags_are_not(flags, sentence):
    done = commands.run("export.client", **flags)
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == f"client: {sentence}"


@pytest.mark.process
def test_the_program_sends_no_token_in_clear_to_others(tmp_path):
    (tmp_path / "token").write_text("s3cret\n")
    done = commands.run("export.client", server="example.org:8500", words=True, token_file=tmp_path / "token")
    assert done.returncode == 1 and "a token is not sent to example.org:8500 without TLS" in done.stderr
    assert "s3cret" not in done.stderr
    (tmp_path / "token").write_text("\n")
    done = commands.run("export.client", words=True, token_file=tmp_path / "token")
    assert done.stderr.splitlines()[-1] == f"client: --token_file={tmp_path}/token is empty"
