"""The files of export/tf_serving: what TF Serving reads parses, and all of them speak of the same server."""

import contextlib
import http.server
import json
import os
import re
import subprocess
import threading

import pytest
import yaml
from google.protobuf import text_format
from tensorflow_serving.apis import model_management_pb2
from tf_serving_files import (
    BATCHING,
    EXPORTER_FLAGS,
    FOLDER,
    NGINX_PORT,
    PROMETHEUS,
    SERVER_FLAGS,
    SSL,
    message,
    models,
    text,
)


@pytest.fixture(scope="module")
def batching():
    return text_format.Parse(text("batching.config"), message(BatchingParameters=BATCHING))


@pytest.fixture(scope="module")
def servers():
    """{file: what it says about the server}, in one form."""
    compose = yaml.safe_load(text("docker-compose.yml"))["services"]["serving"]
    deployment, *_ = yaml.safe_load_all(text("kubernetes.yaml"))
    container, _ = deployment["spec"]["template"]["spec"]["containers"]
    limits = compose["deploy"]["resources"]["limits"]
    pod_limits = container["resources"]["limits"]
    return {
        "docker-compose.yml": {
            "all": compose,
            "image": compose["image"],
            "program": compose["entrypoint"],
            "args": compose["command"],
            "cpus": limits["cpus"],
            "memory": limits["memory"],
            "grace": compose["stop_grace_period"].rstrip("s"),
            "ports": {port.split(":")[-1] for port in compose["ports"]} - {NGINX_PORT},
            "mounts": {v["target"]: v["read_only"] for v in compose["volumes"]},
        },
        "kubernetes.yaml": {
            "all": deployment,
            "container": container,
            "image": container["image"],
            "program": container["command"],
            "args": container["args"],
            "cpus": pod_limits["cpu"],
            "memory": pod_limits["memory"].rstrip("i"),
            "grace": deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"],
            "ports": {str(port["containerPort"]) for port in container["ports"]},
            "mounts": {v["mountPath"]: v["readOnly"] for v in container["volumeMounts"] if v["mountPath"] != "/tmp"},
        },
    }


def flags_of(server) -> dict[str, str]:
    return dict(argument[2:].split("=", 1) for argument in server["args"])


def test_the_models_are_what_the_exporter_writes():
    config = models()
    assert (config.name, config.base_path, config.model_platform) == ("dsg", "/models/dsg", "tensorflow")
    versions = set(config.model_version_policy.specific.versions)
    assert 1 in versions, "the exporter's first version"
    assert set(config.version_labels) == {"stable", "canary"} and set(config.version_labels.values()) <= versions


def test_a_reload_request_carries_the_same_models():
    request = model_management_pb2.ReloadConfigRequest()
    text_format.Parse(text("models.config"), request.config)
    sent = model_management_pb2.ReloadConfigRequest.FromString(request.SerializeToString())
    assert sent.config.model_config_list.config[0] == models()


def test_batch_sizes_fit_together(batching):
    sizes = list(batching.allowed_batch_sizes)
    # batching/batching_session.cc refuses to start where this does not hold.
    assert sizes == sorted(set(sizes)) and sizes[0] == 1 and sizes[-1] == batching.max_batch_size.value
    assert 1 <= batching.num_batch_threads.value <= batching.max_enqueued_batches.value
    assert 0 < batching.batch_timeout_micros.value <= 20_000
    # Without it, requests with 1 and with 2 queries in one batch fail, both.
    assert batching.pad_variable_length_inputs


def test_metrics_are_where_prometheus_looks(servers):
    monitoring = text_format.Parse(
        text("monitoring.config"), message(Prometheus=PROMETHEUS, MonitoringConfig={"prometheus_config": ".Prometheus"})
    ).prometheus_config
    assert monitoring.enable
    annotations = servers["kubernetes.yaml"]["all"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/path"] == monitoring.path and monitoring.path in text("README.md")
    assert annotations["prometheus.io/port"] == flags_of(servers["kubernetes.yaml"])["rest_api_port"]


@pytest.mark.parametrize("name", ["docker-compose.yml", "kubernetes.yaml"])
def test_flags_exist_and_name_files_that_are_mounted(servers, name, batching):
    server, flags = servers[name], flags_of(servers[name])
    assert server["program"] == ["tensorflow_model_server"] and set(flags) <= SERVER_FLAGS
    assert server["ports"] == {flags["port"], flags["rest_api_port"]} == {"8500", "8501"}
    assert server["mounts"] == {models().base_path: True, "/config": True}
    files = {flag: value for flag, value in flags.items() if flag.endswith("_file")}
    assert set(files) == {"model_config_file", "monitoring_config_file"}
    for path in files.values():
        assert os.path.dirname(path) == "/config" and os.path.isfile(os.path.join(FOLDER, os.path.basename(path)))
    # A first start has no version to give a label to.
    assert flags["allow_version_labels_for_unavailable_models"] == "true" and flags["enable_profiler"] == "false"
    # On a CPU it gains little, and a wrong request fails its batch; the comment tells what a GPU needs.
    assert "enable_batching" not in flags
    assert "--enable_batching=true and --batching_parameters_file=/config/batching.config" in text(name)
    assert flags["tensorflow_intra_op_parallelism"] == flags["tensorflow_inter_op_parallelism"] == server["cpus"]
    assert int(server["grace"]) * 1000 > int(flags["rest_api_timeout_in_ms"])
    # Images of the largest size take up to 0.6 GB for a moment (export/saved_model/decoding.py): in each request that
    # nginx lets through, or in each batch.
    (requests,) = re.findall(r"limit_conn requests (\d+);", text("nginx.conf"))
    assert int(server["memory"].rstrip("G")) > 0.6 * max(int(requests), batching.num_batch_threads.value)


def test_nginx_and_the_server_have_the_same_limits(servers):
    conf = text("nginx.conf")
    for name, server in servers.items():
        flags = flags_of(server)
        for upstream, flag in (("grpc", "port"), ("rest", "rest_api_port")):
            assert f"upstream {upstream} {{ server 127.0.0.1:{flags[flag]};" in conf, name
        _, largest = flags["grpc_channel_arguments"].split("grpc.max_receive_message_length=")
        assert f"client_max_body_size {int(largest) // 2**20}m;" in conf
        (seconds,) = re.findall(r"proxy_read_timeout (\d+)s;", conf)
        assert 1000 * int(seconds) > int(flags["rest_api_timeout_in_ms"])
    compose = yaml.safe_load(text("docker-compose.yml"))["services"]
    nginx = next(yaml.safe_load_all(text("kubernetes.yaml")))["spec"]["template"]["spec"]["containers"][1]
    assert f"listen {NGINX_PORT} ssl" in conf and compose["nginx"]["network_mode"] == "service:serving"
    assert nginx["command"] == compose["nginx"]["command"] and nginx["image"] == compose["nginx"]["image"]
    assert nginx["ports"] == [{"name": "tls", "containerPort": int(NGINX_PORT)}]


def test_both_ways_to_run_it_are_the_same_server(servers):
    compose, kubernetes = servers["docker-compose.yml"], servers["kubernetes.yaml"]
    for key in ("image", "program", "args", "cpus", "memory", "grace", "ports", "mounts"):
        assert compose[key] == kubernetes[key] or str(compose[key]) == str(kubernetes[key]), key
    assert re.fullmatch(r"tensorflow/serving:2\.\d+\.\d+(@sha256:[0-9a-f]{64})?", compose["image"])


def test_probes_ask_for_the_model(servers):
    container, name = servers["kubernetes.yaml"]["container"], models().name
    ports = {port["name"]: str(port["containerPort"]) for port in container["ports"]}
    # The paths: model_servers/http_rest_api_util.cc. A status comes in any state, so it does not tell readiness:
    # model_servers/get_model_status_impl.cc.
    for probe, path in (("startupProbe", "/metadata"), ("readinessProbe", "/metadata"), ("livenessProbe", "")):
        request = container[probe]["httpGet"]
        assert request["path"] == f"/v1/models/{name}{path}", probe
        assert ports[request["port"]] == flags_of(servers["kubernetes.yaml"])["rest_api_port"], probe
    assert container["startupProbe"]["periodSeconds"] * container["startupProbe"]["failureThreshold"] >= 300
    drain = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert drain * 1000 >= int(flags_of(servers["kubernetes.yaml"])["rest_api_timeout_in_ms"])
    assert drain < servers["kubernetes.yaml"]["grace"]


def test_volumes_that_are_mounted_are_there(servers):
    pod = servers["kubernetes.yaml"]["all"]["spec"]["template"]["spec"]
    mounted = {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}


@contextlib.contextmanager
def rest_api(status: int, answer: str):
    """A server that answers each GET so; yields its port and the list of paths that were asked for."""
    paths = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):  # pylint: disable=invalid-name
            paths.append(self.path)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(answer.encode())

        def log_message(self, *args):  # pylint: disable=arguments-differ
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1], paths
        finally:
            server.shutdown()
            thread.join()


def status_of(state: str) -> str:
    """As TF Serving prints a GetModelStatusResponse: indented by one blank."""
    version = {"version": "1", "state": state, "status": {"error_code": "OK", "error_message": ""}}
    return json.dumps({"model_version_status": [version]}, indent=1)


@pytest.mark.process
@pytest.mark.parametrize(
    "status, answer, healthy",
    [
        (200, status_of("AVAILABLE"), True),
        (200, status_of("LOADING"), False),
        (200, status_of("END"), False),
        (404, '{"error": "Could not find any versions of model dsg"}', False),
        (None, "", False),
    ],
)
def test_the_health_check_tells_whether_the_model_answers(servers, status, answer, healthy):
    server = servers["docker-compose.yml"]
    kind, *command = server["all"]["healthcheck"]["test"]
    assert kind == "CMD" and command[0] == "bash"
    with rest_api(status or 200, answer) as (port, paths):
        if status is None:
            port = 1  # Nobody listens.
        asked = f"/dev/tcp/127.0.0.1/{flags_of(server)['rest_api_port']}"
        assert asked in command[-1]
        command[-1] = command[-1].replace(asked, f"/dev/tcp/127.0.0.1/{port}")
        done = subprocess.run(command, capture_output=True, timeout=20, check=False)
    assert (done.returncode == 0) == healthy, done.stderr
    assert paths == ([f"/v1/models/{models().name}"] if status else [])


def test_what_the_page_names_exists():
    page = text("README.md")
    assert set(re.findall(r"--([a-z_]+)", page)) <= SERVER_FLAGS | EXPORTER_FLAGS | {"format"}  # Of docker.
    assert set(os.listdir(FOLDER)) == {*re.findall(r"^\| `([\w-]+\.\w+)` \|", page, re.M), "README.md"}
    for path in re.findall(r"--from-file=(\S+)", text("kubernetes.yaml")):
        assert os.path.isfile(os.path.join(FOLDER, "..", "..", path)), path
    assert len(re.findall("--from-file=", text("kubernetes.yaml"))) == 4


def test_the_rollout_of_the_page_is_one_that_the_server_takes():
    """`ServerCore::UpdateModelVersionLabelMap` in model_servers/server_core.cc.

    A label that is in use moves only to a version that is loaded when the file is read; else the whole file is refused.
    """
    rows = re.findall(r"^\| [\w ]+ \| ([\d, ]+) \| (\d+) \| (\d+) \|", text("README.md"), re.M)
    assert len(rows) == 5
    config = models()
    assert rows[0] == (
        ",".join(str(v) for v in config.model_version_policy.specific.versions),
        str(config.version_labels["stable"]),
        str(config.version_labels["canary"]),
    )
    loaded, labels = set(), {}
    for versions, stable, canary in rows:
        wanted = {"stable": int(stable), "canary": int(canary)}
        assert all(version in loaded or labels.get(label, version) == version for label, version in wanted.items())
        loaded, labels = {int(version) for version in versions.split(",")}, wanted
        assert set(labels.values()) <= loaded
    assert labels == {"stable": 2, "canary": 2} and loaded == {2}


def test_the_tls_file_of_the_page_is_an_ssl_config():
    (block,) = re.findall(r"```proto\n(.*?)```", text("README.md"), re.S)
    found = text_format.Parse(block, message(SSLConfig=SSL))
    assert found.client_verify and "BEGIN PRIVATE KEY" in found.server_key and "BEGIN CERTIFICATE" in found.custom_ca
