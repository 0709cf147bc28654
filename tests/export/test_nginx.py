"""export/tf_serving/nginx.conf before a stand-in of TF Serving: what it lets through, and what it tells the others."""

import contextlib
import http.client
import http.server
import os
import pwd
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from concurrent import futures

import grpc
import pytest
from paths import ROOT
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

CONF = os.path.join(ROOT, "export", "tf_serving", "nginx.conf")
MIB = 2**20

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(
        not (shutil.which("nginx") and shutil.which("openssl")), reason="nginx or openssl is not installed"
    ),
]


def certificates(folder):
    """An authority (ca), and what it signed for the proxy (tls) and for a client: NAME.key, NAME.crt."""

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], check=True, cwd=folder, capture_output=True)

    key = ("-newkey", "rsa:2048", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=authority", "-days", "2")
    (folder / "names").write_text("subjectAltName=DNS:localhost")
    for name in ("tls", "client"):
        openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", "/CN=localhost")
        signed = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
        openssl("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.crt", *signed)
    return {name: (folder / name).read_bytes() for name in ("ca.crt", "client.key", "client.crt")}


class Backend(prediction_service_pb2_grpc.PredictionServiceServicer, model_service_pb2_grpc.ModelServiceServicer):
    """Answers everything; a prediction waits while `may_answer` is not set."""

    def __init__(self):
        self.may_answer, self.waiting = threading.Event(), threading.Semaphore(0)
        self.may_answer.set()

    def Predict(self, request, context):
        self.waiting.release()
        self.may_answer.wait(20)
        return predict_pb2.PredictResponse()

    def GetModelStatus(self, request, context):
        return get_model_status_pb2.GetModelStatusResponse()

    def HandleReloadConfigRequest(self, request, context):
        return model_management_pb2.ReloadConfigResponse()


class RestBackend(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_POST = do_GET

    def log_message(self, *args):
        pass


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def proxy(tmp_path_factory):
    """(port, backend, certificates) of a running nginx."""
    folder = tmp_path_factory.mktemp("nginx")
    files = certificates(folder)
    backend = Backend()
    server = grpc.server(futures.ThreadPoolExecutor(32), options=[("grpc.max_receive_message_length", -1)])
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(backend, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(backend, server)
    grpc_port, port = server.add_insecure_port("127.0.0.1:0"), free_port()
    server.start()
    rest = http.server.ThreadingHTTPServer(("127.0.0.1", 0), RestBackend)
    thread = threading.Thread(target=rest.serve_forever)
    thread.start()
    with open(CONF, encoding="utf-8") as file:
        text = file.read()
    places = {
        "/tls/": f"{folder}/",
        "/tmp/": f"{folder}/",
        "8443": f"{port}",
        "127.0.0.1:8500": f"127.0.0.1:{grpc_port}",
        "127.0.0.1:8501": f"127.0.0.1:{rest.server_port}",
    }
    assert all(place in text for place in places)
    text = re.sub("|".join(map(re.escape, places)), lambda found: places[found[0]], text)
    (folder / "nginx.conf").write_text(text)
    user = f"user {pwd.getpwuid(os.geteuid()).pw_name};"  # Root would turn into somebody who may not write here.
    nginx = subprocess.Popen(["nginx", "-e", "stderr", "-p", folder, "-c", folder / "nginx.conf", "-g", user])
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            assert nginx.poll() is None
            time.sleep(0.1)
        yield port, backend, files
    finally:
        nginx.terminate()
        nginx.wait(20)
        rest.shutdown()
        thread.join()
        rest.server_close()
        server.stop(None).wait()


@pytest.fixture
def channel(proxy):
    port, _, files = proxy
    credentials = grpc.ssl_channel_credentials(files["ca.crt"], files["client.key"], files["client.crt"])
    with grpc.secure_channel(f"localhost:{port}", credentials) as connected:
        yield connected


def message(size: int) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.inputs["image"].tensor_content = bytes(size)
    return request


def code(call) -> str:
    try:
        call()
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


@pytest.mark.parametrize("size, expected", [(10, "OK"), (20 * MIB, "OK"), (33 * MIB, "RESOURCE_EXHAUSTED")])
def test_a_message_has_a_limit(channel, size, expected):
    predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
    assert code(lambda: predict(message(size), timeout=30)) == expected


def test_nobody_loads_a_model_through_it(channel):
    service = model_service_pb2_grpc.ModelServiceStub(channel)
    assert code(lambda: service.GetModelStatus(get_model_status_pb2.GetModelStatusRequest(), timeout=30)) == "OK"
    request = model_management_pb2.ReloadConfigRequest()
    assert code(lambda: service.HandleReloadConfigRequest(request, timeout=30)) == "PERMISSION_DENIED"


def test_a_client_without_a_certificate_is_refused(proxy):
    port, _, files = proxy
    with grpc.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(files["ca.crt"])) as channel:
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        assert code(lambda: predict(message(10), timeout=30)) != "OK"


def test_what_is_more_than_it_lets_through_at_a_time_is_refused_at_once(proxy, channel):
    predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
    backend = proxy[1]
    while backend.waiting.acquire(blocking=False):  # What earlier tests left.
        pass
    backend.may_answer.clear()
    try:
        under_way = [predict.future(message(10), timeout=30) for _ in range(8)]
        for _ in under_way:
            assert backend.waiting.acquire(timeout=20)
        assert code(lambda: predict(message(10), timeout=30)) == "UNAVAILABLE"
    finally:
        backend.may_answer.set()
    assert [code(future.result) for future in under_way] == ["OK"] * 8
    assert code(lambda: predict(message(10), timeout=30)) == "OK"


@pytest.mark.parametrize(
    "method, path, size, expected",
    [
        ("GET", "/v1/models/dsg", 0, 200),
        ("POST", "/v1/models/dsg:predict", 20 * MIB, 200),
        ("POST", "/v1/models/dsg:predict", 33 * MIB, 413),
        ("GET", "/monitoring/prometheus/metrics", 0, 403),
    ],
)
def test_rest_has_limits_too(proxy, tmp_path, method, path, size, expected):
    port, _, files = proxy
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    context = ssl.create_default_context(cafile=tmp_path / "ca.crt")
    context.load_cert_chain(tmp_path / "client.crt", tmp_path / "client.key")
    connection = http.client.HTTPSConnection("localhost", port, timeout=30, context=context)
    with contextlib.closing(connection):
        connection.putrequest(method, path)
        connection.putheader("Content-Length", str(size))
        connection.endheaders()
        if expected == 200:
            connection.send(bytes(size))
        assert connection.getresponse().status == expected
