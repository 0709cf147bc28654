"""The files of export/tf_serving: what TF Serving reads parses, and all of them speak of the same server.

TF Serving is not here to be asked. What it accepts is written down below from its source,
github.com/tensorflow/serving; paths start in its tensorflow_serving/.
"""

import contextlib
import http.server
import json
import os
import re
import subprocess
import threading

import numpy as np
import pytest
import tensorflow as tf
import tiny_data
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from paths import ROOT
from tensorflow_serving.apis import model_management_pb2
from tensorflow_serving.config import model_server_config_pb2

FOLDER = os.path.join(ROOT, "export", "tf_serving")
SERVER_FLAGS = {  # Of those in model_servers/main.cc.
    "port",
    "rest_api_port",
    "rest_api_timeout_in_ms",
    "rest_api_num_threads",
    "enable_batching",
    "batching_parameters_file",
    "allow_version_labels_for_unavailable_models",
    "model_config_file",
    "model_config_file_poll_wait_seconds",
    "model_name",
    "model_base_path",
    "max_num_load_retries",
    "load_retry_interval_micros",
    "file_system_poll_wait_seconds",
    "tensorflow_session_parallelism",
    "tensorflow_intra_op_parallelism",
    "tensorflow_inter_op_parallelism",
    "ssl_config_file",
    "per_process_gpu_memory_fraction",
    "grpc_channel_arguments",
    "grpc_max_threads",
    "enable_model_warmup",
    "num_request_iterations_for_warmup",
    "monitoring_config_file",
    "xla_cpu_compilation_enabled",
    "enable_profiler",
    "thread_pool_factory_config_file",
    "grpc_socket_path",
    "enable_per_model_batching_parameters",
}
EXPORTER_FLAGS = {"model_dir", "output_dir", "jit_compile"}
NGINX_PORT = "8443"
# BatchingParameters in servables/tensorflow/session_bundle_config.proto, read in bundle_factory_util.cc and .h.
BATCHING = {
    "max_batch_size": ".google.protobuf.Int64Value",
    "batch_timeout_micros": ".google.protobuf.Int64Value",
    "max_enqueued_batches": ".google.protobuf.Int64Value",
    "num_batch_threads": ".google.protobuf.Int64Value",
    "thread_pool_name": ".google.protobuf.StringValue",
    "allowed_batch_sizes": "repeated int64",
    "pad_variable_length_inputs": "bool",
    "enable_large_batch_splitting": ".google.protobuf.BoolValue",
    "max_execution_batch_size": ".google.protobuf.Int64Value",
}
PROMETHEUS = {"enable": "bool", "path": "string"}  # config/monitoring_config.proto
# config/ssl_config.proto
SSL = {"server_key": "string", "server_cert": "string", "custom_ca": "string", "client_verify": "bool"}


def text(name: str) -> str:
    with open(os.path.join(FOLDER, name), encoding="utf-8") as file:
        return file.read()


def message(**messages):
    """An empty proto with the fields of the last of ``messages``: {field: type} by name; types may be earlier names."""
    file = descriptor_pb2.FileDescriptorProto(
        name="tf_serving_config.proto", syntax="proto3", dependency=[wrappers_pb2.DESCRIPTOR.name]
    )
    for name, fields in messages.items():
        described = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), start=1):
            scalar, repeated = kind.split()[-1], kind.startswith("repeated")
            added = described.field.add(name=field, number=number, label=3 if repeated else 1)
            if scalar.startswith("."):
                added.type, added.type_name = added.TYPE_MESSAGE, scalar
            else:
                added.type = getattr(added, f"TYPE_{scalar.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))()


def models() -> model_server_config_pb2.ModelConfig:
    found = text_format.Parse(text("models.config"), model_server_config_pb2.ModelServerConfig())
    (config,) = found.model_config_list.config
    return config


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


@pytest.fixture(scope="module")
def refer(exported):
    function = tf.saved_model.load(exported).signatures["refer"]
    return lambda **inputs: {
        name: value.numpy()
        for name, value in function(**{name: tf.constant(value) for name, value in inputs.items()}).items()
    }


def request(images, queries):
    """``images``: pictures of the data; the same ``queries`` for each."""
    columns = {
        role: np.array([[query[k] for query in queries]] * len(images), object)
        for k, role in enumerate(("subject", "relation", "object"))
    }
    return {"image": np.array([tiny_data.draw("val", k).image for k in images], object), **columns}


def merged(requests):
    """One batch as batching/batching_session.cc makes it: dimension 0 joined, the others padded at their end.

    The padding is the first element of the request's own tensor (`PadTensor` in batching/batching_util.cc).
    """

    def padded(tensor, shape):
        widths = [(0, 0)] + [(0, size - own) for own, size in zip(tensor.shape[1:], shape)]
        return np.pad(tensor, widths, constant_values=tensor.flat[0])

    shapes = {name: np.max([one[name].shape[1:] for one in requests], axis=0) for name in requests[0]}
    return {name: np.concatenate([padded(one[name], shape) for one in requests]) for name, shape in shapes.items()}


def test_requests_that_share_a_batch_get_their_own_answers(refer):
    few = request([0, 1], [("blue disc", "above", "red disc")])
    many = request([2], [("red square", "left", "blue disc"), ("", "", ""), ("red disc", "below", "red disc")])
    together = refer(**merged([few, many]))
    for part, alone in ((slice(0, 2), refer(**few)), (slice(2, 3), refer(**many))):
        for name, value in alone.items():
            shared = together[name][part]
            if value.ndim > 1 and name not in ("boxes", "valid"):
                shared = shared[:, : value.shape[1]]  # TF Serving does not cut the answers: the client does.
            np.testing.assert_allclose(shared, value, atol=1e-3 if "box" in name else 1e-5, err_msg=name)
    # What is cut off are answers to the request's first query once more: it is never an unknown word.
    for name in ("subject_mask", "subject_scores", "role_probabilities"):
        np.testing.assert_allclose(together[name][:2, 2], together[name][:2, 0], atol=1e-6)


def test_a_wrong_word_is_an_error_for_the_whole_batch(refer):
    good = request([0], [("red square", "left", "blue disc")])
    bad = request([1], [("red square", "left", "zebra")])
    with pytest.raises(tf.errors.InvalidArgumentError, match="query 0 of image 1: unknown object: zebra"):
        refer(**merged([good, bad]))
