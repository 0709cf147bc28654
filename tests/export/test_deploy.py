"""Files to run and to watch the servers: they are hardened, and name flags, metrics and sections that there are."""

import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess

import pytest
import yaml
from absl import flags
from paths import ROOT

from export import serve
from export.serving.monitoring import Monitoring

EXPORT = pathlib.Path(ROOT, "export")
FOLDERS = ("deploy", "tf_serving")
# Of TF Serving: servables/tensorflow/util.cc and batching/batching_session.cc in its tensorflow_serving/; / becomes :.
TF_SERVING = {
    ":tensorflow:serving:request_count",
    ":tensorflow:serving:request_latency_bucket",
    ":tensorflow:serving:runtime_latency_bucket",
    ":tensorflow:serving:batching_session:queuing_latency_bucket",
}


def text(path: str) -> str:
    return (EXPORT / path).read_text(encoding="utf-8")


def objects(folder: str) -> dict[str, dict]:
    """What a kubernetes.yaml describes, by kind."""
    found = list(yaml.safe_load_all(text(f"{folder}/kubernetes.yaml")))
    assert len({one["kind"] for one in found}) == len(found)
    return {one["kind"]: one for one in found}


def pod(folder: str) -> dict:
    return objects(folder)["Deployment"]["spec"]["template"]["spec"]


def services(folder: str) -> dict[str, dict]:
    return yaml.safe_load(text(f"{folder}/docker-compose.yml"))["services"]


def rules() -> list[dict]:
    return [rule for group in yaml.safe_load(text("deploy/alerts.yml"))["groups"] for rule in group["rules"]]


def dashboard() -> list[dict]:
    return json.loads(text("deploy/grafana.json"))["panels"]


def dashboard_queries() -> list[str]:
    return [target["expr"] for panel in dashboard() for target in panel.get("targets", [])]


@pytest.mark.parametrize("folder", FOLDERS)
def test_pods_are_locked(folder):
    security = pod(folder)["securityContext"]
    assert security["runAsNonRoot"] and security["runAsUser"] > 0 and security["fsGroup"] > 0
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod(folder)["automountServiceAccountToken"] is False
    for container in pod(folder)["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert set(container["resources"]["limits"]) == {"cpu", "memory"}
        # What is mounted is read-only, but for a place in memory or on the node with a limit.
        writable = {mount["name"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
        limits = {volume["name"]: volume.get("emptyDir", {}).get("sizeLimit") for volume in pod(folder)["volumes"]}
        assert all(limits[name] for name in writable)


@pytest.mark.parametrize("folder", FOLDERS)
def test_compose_services_are_locked(folder):
    for name, service in services(folder).items():
        assert int(service["user"].split(":")[0]) > 0 and service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"], name
        assert set(service["logging"]["options"]) == {"max-size", "max-file"}, name
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}, name
        assert all(volume["read_only"] for volume in service["volumes"]), name


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_object_speaks_of_the_same_pods(folder):
    found = objects(folder)
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for selector in (
        found["Deployment"]["spec"]["selector"],
        found["PodDisruptionBudget"]["spec"]["selector"],
        found["NetworkPolicy"]["spec"]["podSelector"],
        *(spread["labelSelector"] for spread in pod(folder)["topologySpreadConstraints"]),
    ):
        assert selector == {"matchLabels": labels}
    assert found["Service"]["spec"]["selector"] == labels
    scaler = found["HorizontalPodAutoscaler"]["spec"]
    assert scaler["scaleTargetRef"]["name"] == found["Deployment"]["metadata"]["name"]
    # A budget of one needs a second, and a number of the deployment would fight with the autoscaler.
    assert scaler["minReplicas"] >= 2 and "replicas" not in found["Deployment"]["spec"]
    spread = {constraint["topologyKey"] for constraint in pod(folder)["topologySpreadConstraints"]}
    assert spread == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_network_policy_lets_through_what_is_safe_there(folder):
    found = objects(folder)
    policy = found["NetworkPolicy"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"] and policy["egress"] == []
    clients, prometheus = policy["ingress"]
    ports = {port["name"]: port["containerPort"] for one in pod(folder)["containers"] for port in one["ports"]}
    encrypted = ports["tls"] if folder == "tf_serving" else ports["grpc"]
    assert [port["port"] for port in clients["ports"]] == [encrypted] and "podSelector" in clients["from"][0]
    assert [port["port"] for port in prometheus["ports"]] == [ports["rest"]]
    assert "namespaceSelector" in prometheus["from"][0]
    exposed = {port["targetPort"]: port["port"] for port in found["Service"]["spec"]["ports"]}
    assert exposed == {name: port for name, port in ports.items() if port in (encrypted, ports["rest"])}
    published = [port for service in services(folder).values() for port in service.get("ports", [])]
    assert [port for port in published if not port.startswith("127.0.0.1:")] == [f"{encrypted}:{encrypted}"]


@pytest.mark.parametrize("version", ["1.30", "1.32"])
@pytest.mark.parametrize("folder", FOLDERS)
def test_manifests_have_the_schema_of_kubernetes(folder, version):
    validator = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    for manifest in objects(folder).values():
        validator.validate(manifest, version, strict=True)


def instruction(name: str) -> list[str]:
    """The last instruction of the Dockerfile of this name, in its exec form."""
    joined = text("deploy/Dockerfile").replace("\\\n", " ")
    return json.loads(re.findall(rf"^{name}\b.*?(\[.*\])$", joined, re.MULTILINE)[-1])


def commands() -> dict[str, list[str]]:
    """The arguments that `export.serve` is started with."""
    program, *arguments = instruction("ENTRYPOINT")
    assert program == "dsg-serve"
    (service,), (container,) = services("deploy").values(), pod("deploy")["containers"]
    return {
        "Dockerfile": arguments,
        "docker-compose.yml": [*arguments, *service["command"]],
        "kubernetes.yaml": [*arguments, *container["args"]],
    }


@pytest.mark.parametrize("file", ["Dockerfile", "docker-compose.yml", "kubernetes.yaml"])
def test_the_server_takes_its_flags(file):
    values = flags.FlagValues()
    serve.define_flags(values)
    assert values(["dsg-serve", *commands()[file]]) == ["dsg-serve"]
    assert (values.host, values.port, values.rest_port, values.model_dir) == ("0.0.0.0", 8500, 8501, "/models/dsg")
    if file != "Dockerfile":
        assert values.tls_key and values.tls_certificate and values.tls_client_roots
        assert not values.rest_tls  # Probes and Prometheus, below, ask in the clear.
    if file == "kubernetes.yaml":
        sleep, seconds = pod("deploy")["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        assert sleep == "sleep"
        assert pod("deploy")["terminationGracePeriodSeconds"] > int(seconds) + values.drain_seconds
    if file == "docker-compose.yml":
        (service,) = services("deploy").values()
        assert int(service["stop_grace_period"].rstrip("s")) > values.drain_seconds


def test_flags_that_the_page_names_exist():
    values = flags.FlagValues()
    serve.define_flags(values)
    page = pathlib.Path(ROOT, "docs", "operations.md").read_text(encoding="utf-8")
    runbook = page[page.index("## Runbook") :].replace("--previous", "")  # Of kubectl.
    named = set(re.findall(r"--([a-z_]+)", runbook))
    assert {"memory_mib", "max_concurrent", "max_images"} <= named and named <= set(values)


def test_the_image_runs_as_nobody_and_its_versions_are_pinned():
    dockerfile = text("deploy/Dockerfile")
    assert re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE) == ["${BASE}"] * 2
    assert re.findall(r"^ARG BASE=(.+)$", dockerfile, re.MULTILINE) == ["python:3.11-slim"]
    (user,) = re.findall(r"^USER (\d+):\d+$", dockerfile, re.MULTILINE)
    assert int(user) == pod("deploy")["securityContext"]["runAsUser"] > 0
    pins = [line for line in text("deploy/constraints.txt").splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.+]+", pin) for pin in pins)
    assert {"tensorflow", "grpcio", "prometheus-client", "absl-py", "aiohttp", "orjson"} <= {
        pin.split("==")[0] for pin in pins
    }
    copied = [part for line in re.findall(r"^COPY ([^-].*)$", dockerfile, re.MULTILINE) for part in line.split()[:-1]]
    assert "dsg_tf" in copied and all(os.path.exists(os.path.join(ROOT, path)) for path in copied)
    sent = re.findall(r"^!(.+)$", text("deploy/Dockerfile.dockerignore"), re.MULTILINE)
    assert all(path.split("/")[0] in sent for path in copied)


def test_probes_ask_for_the_model():
    (container,) = pod("deploy")["containers"]
    for probe, path in (("startupProbe", "/metadata"), ("readinessProbe", "/metadata"), ("livenessProbe", "")):
        assert container[probe]["httpGet"] == {"path": f"/v1/models/dsg{path}", "port": "rest"}
    program, option, check = instruction("HEALTHCHECK")
    assert (program, option) == ("python", "-c") and "http://127.0.0.1:8501/v1/models/dsg/metadata" in check
    compile(check, "HEALTHCHECK", "exec")


def metrics(expression: str) -> set[str]:
    """Names of metrics in PromQL, those that rules record left out."""
    without_texts = re.sub(r'"[^"]*"', "", expression)
    return set(re.findall(r"(?<![\w:])(?::tensorflow(?::\w+)+|dsg_\w+|process_\w+)", without_texts))


@pytest.mark.parametrize("file", ["alerts.yml", "grafana.json"])
def test_metrics_that_are_watched_exist(file):
    expressions = [rule["expr"] for rule in rules()] if file == "alerts.yml" else dashboard_queries()
    watched = set().union(*map(metrics, expressions))
    ours = {name for name in watched if not name.startswith(":")}
    page = Monitoring().page().decode()
    # A metric with labels has no line yet; the names of its samples follow from its type.
    exported = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\w+)$", page, re.MULTILINE):
        exported |= {f"{name}{end}" for end in (("_bucket", "_sum", "_count") if kind == "histogram" else ("",))}
    assert len(ours) > 8 and ours - exported == set()
    assert watched - ours and watched - ours <= TF_SERVING


def test_what_is_recorded_is_what_is_asked_for():
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    expressions = [rule["expr"] for rule in rules() if "alert" in rule]
    asked = set(re.findall(r"\bdsg:[\w:]+", " ".join(expressions + dashboard_queries())))
    assert asked == recorded


def test_every_alert_has_its_section_in_the_runbook():
    page = pathlib.Path(ROOT, "docs", "operations.md").read_text(encoding="utf-8")
    alerts = [rule for rule in rules() if "alert" in rule]
    assert [rule["alert"] for rule in alerts]
    assert set(re.findall(r"^### (\w+)$", page, re.MULTILINE)) == {rule["alert"] for rule in alerts}
    for rule in alerts:
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in ("page", "ticket") and rule["annotations"]["summary"]


def test_prometheus_scrapes_what_the_manifests_serve():
    config = yaml.safe_load(text("deploy/prometheus.yml"))
    assert config["rule_files"] == ["alerts.yml"]
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    for name, folder in (("dsg-serve", "deploy"), ("tf-serving", "tf_serving")):
        (target,) = jobs[name]["dns_sd_configs"]
        service = objects(folder)["Service"]
        assert target["names"] == [f"{service['metadata']['name']}.default.svc.cluster.local"]
        assert target["port"] in {port["port"] for port in service["spec"]["ports"]}
        annotations = objects(folder)["Deployment"]["spec"]["template"]["metadata"]["annotations"]
        assert jobs[name]["metrics_path"] == annotations["prometheus.io/path"] == Monitoring.PATH
    assert set(re.findall(r'job=~?"([\w|-]+)"', text("deploy/alerts.yml"))) == {*jobs, "|".join(jobs)}


def test_the_dashboard_is_one_that_grafana_lays_out():
    panels = dashboard()
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in panels
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(set(places)) == len(places) and max(x for x, _ in places) < 24
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in panels if panel["type"] != "row")


@pytest.mark.process
@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_prometheus_takes_the_rules_and_the_queries(tmp_path):
    """And of made-up hours the alerts say what they should."""
    variables = {"$__rate_interval": "5m", "$instance": ".*"}
    recorded = []
    for number, query in enumerate(dashboard_queries()):
        for variable, value in variables.items():
            query = query.replace(variable, value)
        recorded.append({"record": f"query{number}", "expr": query})
    queries = tmp_path / "queries.yml"
    queries.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": recorded}]}))
    for command in (
        f"promtool check config {EXPORT}/deploy/prometheus.yml",
        f"promtool test rules {ROOT}/tests/export/alerts_test.yml",
        f"promtool check rules {queries}",
    ):
        done = subprocess.run(shlex.split(command), capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.process
@pytest.mark.skipif(not shutil.which("hadolint"), reason="hadolint is not installed")
def test_the_linter_of_dockerfiles_finds_nothing():
    done = subprocess.run(["hadolint", EXPORT / "deploy" / "Dockerfile"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
