"""The page as a process, and before a server."""

import shutil
import subprocess
import sys
import threading

import commands
import numpy as np
import pytest
import tiny_data
from demo_visits import question, visit
from server_process import serving

from export.demo import views

pytestmark = pytest.mark.process
PHOTO = tiny_data.draw("test", 0).image
TEXT = "a red thing left of the blue disc"


def test_a_server_answers_as_the_model_that_it_serves(model_dir, exported, tmp_path):
    shutil.copytree(exported, tmp_path / "versions" / "1")
    requests = [("POST", "/pictures", PHOTO), question(TEXT), question("zebra left of a disc")]
    expected = visit(views.OfModel(model_dir), *requests)
    with serving(tmp_path / "versions") as server:
        found = visit(views.OfServer(server.address, "dsg"), *requests, ("POST", "/pictures", PHOTO[:600]))
    for (status, content), (same_status, other) in zip(found, expected):
        assert status == same_status and content.keys() == other.keys()
    assert found[1][1]["understood"] == expected[1][1]["understood"] and found[2] == expected[2]
    np.testing.assert_allclose(found[1][1]["subject_boxes"], expected[1][1]["subject_boxes"], atol=0.02)
    relations = found[0][1]["graph"]["relations"]  # As many as it was exported for.
    assert [row["relation"] for row in relations] == [
        row["relation"] for row in expected[0][1]["graph"]["relations"][:5]
    ]
    assert found[3] == (400, {"error": "The picture is damaged."})


def test_the_command_serves_until_it_is_stopped(model_dir):
    command = [sys.executable, "-m", "export.demo", f"--model={model_dir}", "--port=0"]
    with subprocess.Popen(
        command, env=commands.ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        timer = threading.Timer(120, process.kill)
        timer.start()
        try:
            line = process.stdout.readline()
            assert line.startswith("http://127.0.0.1:") and ":0/" not in line, (line, process.stderr.read())
        finally:
            process.terminate()
            timer.cancel()
        assert process.wait(30) == 0 and process.stderr.read() == ""
