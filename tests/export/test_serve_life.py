"""The local server from its start to its end: flags, TLS, new versions and SIGTERM under load."""

import base64
import os
import re
import shutil
import threading
import time

import commands
import grpc
import numpy as np
import pytest
import tensorflow as tf
from certificates import make_certificate
from pictures import FILES, QUERY
from server_process import QUERIES, assert_equal, refer_inputs, serving
from tensorflow_serving.apis import (
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from export.dsg_client import DSGClient, RequestError

pytestmark = pytest.mark.process


def test_new_versions_labels_and_a_broken_version(exported, tmp_path):
    """A swap under load loses no request, one that cannot be loaded changes nothing, a rollback brings one back."""
    shutil.copytree(exported, tmp_path / "models" / "1")
    with serving(tmp_path / "models", "--allow_reload") as server, DSGClient(server.address) as client:
        served, failures, stop = set(), [], threading.Event()

        def load():
            request = predict_pb2.PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = "dsg", "encode"
            request.inputs["image"].CopyFrom(tf.make_tensor_proto([FILES["png"]]))
            with grpc.insecure_channel(server.address) as channel:
                predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
                while not stop.is_set():
                    try:
                        served.add(predict(request, timeout=60).model_spec.version.value)
                    except grpc.RpcError as error:
                        failures.append(error)

        threads = [threading.Thread(target=load) for _ in range(3)]
        for thread in threads:
            thread.start()
        shutil.copytree(exported, tmp_path / ".next")
        os.rename(tmp_path / ".next", tmp_path / "models" / "2")
        server.wait_for("version 1 is not served any more")
        (tmp_path / "models" / "5").mkdir()
        server.wait_for("version 5 cannot be loaded")
        time.sleep(0.5)
        stop.set()
        for thread in threads:
            thread.join()
        assert not failures and served == {1, 2}
        states = {item["version"]: item for item in server.rest("/v1/models/dsg")[1]["model_version_status"]}
        assert states["2"]["state"] == "AVAILABLE" and states["5"]["state"] == "END"
        assert states["5"]["status"]["error_code"] == "UNKNOWN" and states["5"]["status"]["error_message"]

        reload_ = model_management_pb2.ReloadConfigRequest()
        model = reload_.config.model_config_list.config.add(name="dsg", base_path=str(tmp_path / "models"))
        model.model_version_policy.specific.versions.extend([1, 2])
        model.version_labels["stable"] = 1
        with grpc.insecure_channel(server.address) as channel:
            change = model_service_pb2_grpc.ModelServiceStub(channel).HandleReloadConfigRequest
            assert change(reload_, timeout=60).status.error_code == 0
            with DSGClient(server.address, label="stable") as stable:
                assert_equal(
                    stable.call("encode", {"image": np.array([FILES["png"]], object)}),
                    client.call("encode", {"image": np.array([FILES["png"]], object)}),
                )
            model.version_labels["canary"] = 7
            with pytest.raises(grpc.RpcError, match="INVALID_ARGUMENT.*\n.*label canary: version 7"):
                change(reload_, timeout=60)
            model.name = "other"
            with pytest.raises(grpc.RpcError, match="the one model dsg, not other"):
                change(reload_, timeout=60)
        assert (
            server.rest(
                "/v1/models/dsg/labels/stable:predict",
                {"inputs": [{"b64": base64.b64encode(FILES["png"]).decode()}], "signature_name": "encode"},
            )[0]
            == 200
        )


def test_sigterm_under_load_answers_what_it_accepted(exported, tmp_path):
    """Each request is answered, or was refused unread (UNAVAILABLE, which a client may send again)."""
    shutil.copytree(exported, tmp_path / "models" / "1")
    with serving(tmp_path / "models") as server:
        codes, answered, begin = [], threading.Semaphore(0), threading.Barrier(7)

        def load():
            inputs = refer_inputs([FILES["large"]] * 2, QUERIES)
            request = predict_pb2.PredictRequest()
            request.model_spec.name = "dsg"
            for name, value in inputs.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            with grpc.insecure_channel(server.address) as channel:
                predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
                begin.wait()
                while not codes or set(codes) == {"OK"}:
                    try:
                        predict(request, timeout=60)
                        codes.append("OK")
                        answered.release()
                    except grpc.RpcError as error:
                        codes.append(error.code().name)

        threads = [threading.Thread(target=load) for _ in range(6)]
        for thread in threads:
            thread.start()
        begin.wait()
        for _ in range(12):
            answered.acquire(timeout=60)
        server.stop()
        for thread in threads:
            thread.join()
        accepted = len(re.findall(r" serving_default OK ", server.text()))
    assert set(codes) == {"OK", "UNAVAILABLE"}
    assert codes.count("OK") == accepted >= 12
    assert "stopped" in server.text() and "Traceback" not in server.text()


def test_the_server_does_not_start_with_wrong_flags():
    done = commands.run("export.serve", model_dir=".", tls_key="a.pem")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "serve: --tls_key=a.pem and --tls_certificate= go together"


def test_tls(exported, tmp_path):
    key, certificate = make_certificate(tmp_path, "localhost")
    shutil.copytree(exported, tmp_path / "models" / "1")
    with serving(tmp_path / "models", f"--tls_key={key}", f"--tls_certificate={certificate}") as server:
        with DSGClient(f"localhost:{server.port}", tls_roots=certificate.read_bytes()) as client:
            assert client.ask(FILES["png"], [", ".join(QUERY)])
        with (
            DSGClient(f"localhost:{server.port}", timeout=5) as client,
            pytest.raises(RequestError, match="UNAVAILABLE"),
        ):
            client.ask(FILES["png"], [", ".join(QUERY)])
