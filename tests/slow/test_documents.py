"""The commands of the README and of the documentation, run as they are written in a copy of the checkout."""

from __future__ import annotations

import concurrent.futures
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import dataset_files
import numpy as np
import pytest
from documented_commands import CLIENTS, SERVER, STAGES, Run
from documents import Command
from paths import ROOT
from PIL import Image

AT_A_TIME = 2
COPIED = ("configs", "dsg_tf", "export", "models", "train.py", "eval.py", "setup.cfg")
QUERY = "red rubber cube, left, blue metal sphere"
COLORS, SHAPES, MATERIALS = ("red", "blue"), ("cube", "sphere"), ("rubber", "metal")


@pytest.fixture
def checkout(tmp_path):
    """A copy of the program, beside the files that a user has: annotations, scenes, photographs, queries."""
    for name in COPIED:
        source = os.path.join(ROOT, name)
        if os.path.isdir(source):
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path / name)
    write_annotations(tmp_path)
    for split, count in (("train", 4), ("val", 2)):
        write_clevr(tmp_path / "data" / "clevr_small" / "raw", split, count)
    dataset_files.write_image(str(tmp_path / "photo.png"), size=(320, 240))
    for name in ("a.png", "b.png"):
        dataset_files.write_image(str(tmp_path / "photos" / name), size=(320, 240))
    (tmp_path / "queries.json").write_text(
        json.dumps({"a.png": [QUERY], "b.png": [QUERY, "zebra, left, red rubber cube"]})
    )
    return tmp_path


def write_annotations(folder):
    files = dataset_files.write_referring_relationships(str(folder), dataset_files.good_annotations(4))
    os.rename(files["annotations"], folder / "annotations_train.json")
    os.rename(files["image_metadata"], folder / "train_image_metadata.json")


def write_clevr(folder, split, count):
    """Scenes of three objects side by side; the pictures are noise."""
    rng = np.random.default_rng(count)
    scenes = []
    for number in range(count):
        name = f"{split}_{number}.png"
        dataset_files.write_image(str(folder / "images" / name), number, size=(320, 240))
        objects = [
            {
                "color": str(rng.choice(COLORS)),
                "shape": str(rng.choice(SHAPES)),
                "material": str(rng.choice(MATERIALS)),
                "bbox": [20 + 100 * k, 60, 80 + 100 * k, 160],
            }
            for k in range(3)
        ]
        relationships = {"left": [[], [0], [0, 1]], "right": [[1, 2], [2], []], "front": [[]] * 3, "behind": [[]] * 3}
        scenes.append({"image_filename": name, "objects": objects, "relationships": relationships})
    (folder / f"CLEVR_{split}_scenes.json").write_text(json.dumps({"scenes": scenes}))


def words(run: Run, *more: str) -> list[str]:
    return [*Command.parse(run.command).words, *shlex.split(run.smaller), *more]


def environment(run: Run) -> dict[str, str]:
    """One device, whatever the machine has, and the Python that runs this test."""
    variables = dict(variable.split("=", 1) for variable in Command.parse(run.command).variables)
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    return {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "PATH": path, **variables}


def execute(run: Run, folder, *more: str) -> str:
    """Runs a command to its end; returns what it printed."""
    start = time.monotonic()
    done = subprocess.run(
        words(run, *more), cwd=folder, env=environment(run), capture_output=True, text=True, check=False
    )
    print(f"{time.monotonic() - start:6.1f} s  {run.command} {run.smaller}")
    output = f"{run.command} {run.smaller}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    assert done.returncode == run.exit_code and "Traceback" not in done.stderr, output
    assert run.says in done.stdout + done.stderr, output
    return done.stdout


def execute_stage(stage, folder) -> dict[str, str]:
    """The output of each command of a stage."""
    with concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as pool:
        futures = {run.command: pool.submit(execute, run, folder) for run in stage}
        return {command: future.result() for command, future in futures.items()}


def start_server(folder) -> tuple[subprocess.Popen, str]:
    """The server as it is documented, and where it listens."""
    log = folder / "server.log"
    with open(log, "w", encoding="utf-8") as file:
        process = subprocess.Popen(words(SERVER), cwd=folder, env=environment(SERVER), stdout=file, stderr=file)
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        found = re.search(r"gRPC on 127\.0\.0\.1:(\d+), REST on", log.read_text())
        if found:
            return process, f"localhost:{found[1]}"
        time.sleep(0.1)
    process.kill()
    raise AssertionError(f"the server does not start:\n{log.read_text()}")


def ask_server(folder) -> list[str]:
    process, address = start_server(folder)
    try:
        answers = [execute(client, folder, f"--server={address}") for client in CLIENTS]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, (folder / "server.log").read_text()
        return answers
    finally:
        process.kill()


@pytest.mark.timeout(1200)
def test_the_commands_of_the_documentation_run(checkout):
    prepare_val = next(run.command for run in STAGES[0] if "--format=clevr_scenes" in run.command)
    outputs = execute_stage([*STAGES[0], Run(prepare_val.replace("val", "train"))], checkout)
    for stage in STAGES[1:3]:
        outputs |= execute_stage(stage, checkout)
    shutil.copytree(checkout / "exported" / "clevr", checkout / "exported" / "mine")
    for stage in STAGES[3:]:
        outputs |= execute_stage(stage, checkout)
    text_answer, graph = ask_server(checkout)

    check_results(checkout)
    check_answers(outputs, text_answer, json.loads(graph), checkout)


def check_results(folder):
    """Each run has its scores, its pictures and, where it was compared, its table."""
    for name in ("synthetic_dsg", "synthetic_plain", "synthetic_no_dsg"):
        assert read_json(folder, "runs", name, "eval_test.json")["num_images"] == 2
        assert (folder / "runs" / name / "figures" / "test_sample.png").exists()
    for name in ("clevr_small_dsg", "clevr_small_plain", "clevr_small_pairs", "clevr_small_no_dsg", "from_synthetic"):
        assert 0 <= read_json(folder, "runs", name, "eval_val.json")["subject_iou"] <= 1
    assert (folder / "runs" / "mine" / "config.json").exists()
    assert (folder / "inspect.html").exists() and (folder / "inspect_vrd.html").exists()
    assert (folder / "runs" / "clevr_small_dsg" / "report_val.html").exists()
    for name, system in (("compare", "vrd"), ("compare_clevr", "co"), ("board", "no_dsg")):
        assert list(read_json(folder, "runs", name, "compare.json")["systems"]) == [system]
        assert (folder / "runs" / name / "compare.md").exists() and (folder / "runs" / name / "compare.png").exists()
    assert 0 <= read_json(folder, "runs", "models", "mine", "eval_val.json")["subject_iou"] <= 1
    analyses = read_json(folder, "runs", "clevr_small_dsg", "analysis_val.json")
    assert set(analyses) == {"errors", "scene_graphs", "oracles", "cost"}


def check_answers(outputs, text_answer, graph, folder):
    """`eval.py`, the client and `dsg_tf.predict` answer the same queries in the same form."""
    (of_eval,) = [
        json.loads(out) for command, out in outputs.items() if command.startswith("python eval.py") and QUERY in command
    ]
    assert of_eval["query"] == QUERY and len(of_eval["subject_box"]) == 4
    assert text_answer.startswith(QUERY) and set(graph) == {"entities", "relations"}
    lines = (folder / "predicted" / "mine" / "predictions-00000-of-00001.jsonl").read_text().splitlines()
    first, second = [json.loads(line)["answers"] for line in lines]
    assert set(first[0]) == set(of_eval) and "error" not in second[0]
    assert second[1]["error"]["kind"] == "bad_query"
    assert read_json(folder, "predicted", "val", "predictions.json")["num_answered_images"] == 2
    with Image.open(folder / "answer.png") as picture:
        assert picture.format == "PNG"


def read_json(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return json.load(file)
