"""Who may ask: TLS on both ports, certificates of clients, tokens; where the server listens."""

import http.client
import shutil
import socket
import ssl
import time

import commands
import grpc
import pytest
from certificates import make_certificate
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pictures import FILES, QUERY
from server_process import serving

from export.dsg_client import DSGClient, RequestError
from export.serving.access import Access
from export.serving.status import Status

TOKEN = "0123456789abcdef"


@pytest.mark.process
def test_certificates_and_a_token_are_asked_for_on_both_ports(exported, tmp_path):
    (key, chain), (own_key, own_chain) = (make_certificate(tmp_path, name) for name in ("server", "client"))
    (tmp_path / "token").write_text(TOKEN + "\n")
    shutil.copytree(exported, tmp_path / "models" / "1")
    flags = [f"--tls_key={key}", f"--tls_certificate={chain}", f"--tls_client_roots={own_chain}"]
    with serving(tmp_path / "models", *flags, f"--token_file={tmp_path / 'token'}") as server:
        address, roots = f"localhost:{server.port}", {"tls_roots": chain.read_bytes(), "timeout": 5}
        own = {"tls_key": own_key.read_bytes(), "tls_certificate": own_chain.read_bytes()}
        with DSGClient(address, **roots, **own, token=TOKEN) as client:
            assert client.ask(FILES["png"], [", ".join(QUERY)])
        for wrong, code in (
            ({**own, "token": "x" * 20}, "UNAUTHENTICATED"),
            (own, "UNAUTHENTICATED"),
            ({}, "UNAVAILABLE"),
        ):
            with DSGClient(address, **roots, **wrong) as client, pytest.raises(RequestError) as caught:
                client.words()
            assert caught.value.code == code
        credentials = grpc.ssl_channel_credentials(chain.read_bytes(), own_key.read_bytes(), own_chain.read_bytes())
        with grpc.secure_channel(address, credentials) as channel:  # Who checks health has no token.
            health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
            assert health.status == health_pb2.HealthCheckResponse.SERVING
        context = ssl.create_default_context(cafile=chain)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            get(server.rest_port, context, TOKEN)
        context.load_cert_chain(own_chain, own_key)
        assert get(server.rest_port, context, TOKEN)[0] == 200
        status, headers = get(server.rest_port, context, "wrong")
        assert status == 401 and headers["WWW-Authenticate"] == "Bearer"


def get(port, context, token):
    connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=10)
    try:
        connection.request("GET", "/v1/models/dsg/words", headers={"Authorization": f"Bearer {token}"})
        response = connection.getresponse()
        response.read()
        return response.status, response.headers
    finally:
        connection.close()


@pytest.mark.process
def test_it_listens_on_ipv6_and_says_what_strangers_may_do(exported, tmp_path):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    shutil.copytree(exported, tmp_path / "models" / "1")
    with serving(tmp_path / "models", "--host=::") as server:
        with DSGClient(f"[::1]:{server.port}") as client:
            assert client.words().relations
        assert "--host=:: listens beyond this machine" in server.text() and "--token_file" in server.text()


@pytest.mark.process
@pytest.mark.parametrize("flag", ["port", "rest_port"])
def test_a_port_in_use_is_noticed_before_anything_is_loaded(exported, tmp_path, flag):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        start, number = time.monotonic(), taken.getsockname()[1]
        ports = {"port": 0, "rest_port": 0, flag: number}
        done = commands.run("export.serve", model_dir=tmp_path, **ports)
        assert done.returncode == 1 and time.monotonic() - start < 4
        assert f"--{flag}={number}: " in done.stderr.splitlines()[-1] and "in use" in done.stderr.splitlines()[-1]


def test_flags_that_do_not_go_together_and_tokens_that_are_none(tmp_path):
    with pytest.raises(ValueError, match="go together"):
        Access.of_files("a.key", "", "", "")
    with pytest.raises(ValueError, match="needs --tls_key"):
        Access.of_files("", "", "roots.pem", "")
    for text in ("short", "two words that are long enough", ""):
        (tmp_path / "token").write_text(text)
        with pytest.raises(ValueError, match="token must hold one word of at least 16 ASCII characters"):
            Access.of_files("", "", "", str(tmp_path / "token"))
    access = Access(token=TOKEN)
    access.check(f"Bearer {TOKEN}")
    for given in ("", TOKEN, f"bearer {TOKEN}", f"Bearer {TOKEN}x", "Bearer \u00e4"):
        with pytest.raises(Status) as caught:
            access.check(given)
        assert caught.value.code == "UNAUTHENTICATED"
    Access().check("")


@pytest.mark.parametrize("host, warned", [("127.0.0.1", 0), ("localhost", 0), ("[::1]", 0), ("0.0.0.0", 2), ("::", 2)])
def test_who_listens_beyond_this_machine_is_warned(host, warned, caplog):
    Access().warn(host)
    assert sum(word in caplog.text for word in ("--tls_key", "--token_file")) == warned
