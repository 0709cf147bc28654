"""The wheel: what is in it, and its commands from an empty directory, with the checkout out of reach."""

import configparser
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest
import tiny
import tiny_data
from commands import ENVIRONMENT
from paths import ROOT

from dsg_tf.pack import packing

pytestmark = pytest.mark.process


def console_scripts():
    setup = configparser.ConfigParser()
    setup.read(os.path.join(ROOT, "setup.cfg"))
    lines = setup["options.entry_points"]["console_scripts"].split("\n")
    return [line.split("=")[0].strip() for line in lines if line]


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A model in half precision."""
    folder = tmp_path_factory.mktemp("packed")
    tiny_data.write_model_dir(str(folder / "run"), tiny.EXPORTED)
    texts = dict.fromkeys(("trained_on", "license", "command", "time"), "none") | {"limit": []}
    packing.pack(str(folder / "run"), str(folder / "tiny"), texts)
    return folder / "tiny"


@pytest.fixture(scope="module")
def source(packed, tmp_path_factory):
    """A copy of the checkout, with the small model as the one at hand."""
    source = tmp_path_factory.mktemp("source")
    for name in ("dsg_tf", "export", "tests", "benchmarks"):
        shutil.copytree(os.path.join(ROOT, name), source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (
        "setup.cfg",
        "setup.py",
        "MANIFEST.in",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "train.py",
        "eval.py",
    ):
        shutil.copy(os.path.join(ROOT, name), source)
    shutil.copytree(packed, source / "models" / "tiny")
    return source


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", f"--wheel-dir={folder}", str(source)]
    subprocess.run(pip, check=True)
    (path,) = folder.glob("dsg_tf-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The folder of an installation: packages, and bin/ with the commands."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", f"--target={folder}", str(wheel)]
    subprocess.run(pip, check=True)
    return folder


@pytest.fixture
def run(installed, tmp_path):
    """Runs an installed command in an empty directory."""

    def in_empty_directory(command, *flags):
        environment = {**ENVIRONMENT, "PYTHONPATH": str(installed)}
        return subprocess.run(
            [installed / "bin" / command, *flags], cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    return in_empty_directory


def test_its_top_level_is_the_two_packages_and_models_are_inside(wheel, packed):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    packages = {name.split("/")[0] for name in names}
    assert {name for name in packages if not name.endswith(".dist-info")} == {"dsg_tf", "export"}
    assert {name.split("/")[3] for name in names if name.startswith("dsg_tf/models/tiny/")} == set(os.listdir(packed))
    modules = {str(path.relative_to(ROOT)) for path in pathlib.Path(ROOT).glob("dsg_tf/**/*.py")}
    assert modules <= set(names)
    static = pathlib.Path(ROOT).glob("export/demo/static/*")  # Of the page of dsg-demo.
    assert {str(path.relative_to(ROOT)) for path in static} <= set(names)


def test_an_editable_installation_is_found_beside_its_checkout(source, tmp_path):
    """`git clone` makes a directory dsg_tf/, which is not the package, though Python would take it for one."""
    shutil.copytree(source, tmp_path / "dsg_tf")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--editable"]
    subprocess.run([*pip, str(tmp_path / "dsg_tf")], check=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    code = "import dsg_tf, export; print(dsg_tf.__file__, export.__file__)"
    done = subprocess.run([python, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == [str(tmp_path / "dsg_tf" / name / "__init__.py") for name in ("dsg_tf", "export")]


@pytest.mark.parametrize("command", console_scripts())
def test_every_command_is_there_and_documents_its_flags(run, command):
    shown = run(command, "--help")
    assert "\nflags:\n" in shown.stdout and "--[no]debug" in shown.stdout, shown.stderr
    refused = run(command, "--no_such_flag")
    assert refused.returncode and "Unknown command line flag 'no_such_flag'" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_data_is_prepared_and_a_model_asked_in_an_empty_directory(run, installed, tmp_path):
    flags = ("--format=synthetic", "--split=val", "--num_images=2", "--processes=1", "--output_dir=data/mine")
    prepared = run("dsg-prepare", *flags)
    assert prepared.returncode == 0, prepared.stderr
    assert (tmp_path / "data" / "mine" / "dataset_info.json").exists()
    with tarfile.open(os.path.join(ROOT, "tests", "released", "0.1.0.tar.xz")) as archive:
        archive.extractall(tmp_path)
    query = "red square, left, blue disc"
    asked = run("dsg-eval", "--model_dir=model", "--image=photo.png", f"--query={query}", "--output=answer.png")
    assert asked.returncode == 0, asked.stderr
    assert json.loads(asked.stdout)["query"] == query and asked.stderr == ""
    assert (tmp_path / "answer.png").stat().st_size > 1000


def test_a_model_at_hand_is_found_by_its_name_and_nothing_is_written_beside_it(run, installed, tmp_path):
    place = installed / "dsg_tf" / "models" / "tiny"
    before = {path.name: path.stat().st_mtime_ns for path in place.iterdir()}
    tiny_data.write(str(tmp_path / "drawings"), {"val": 2})
    flags = ("--model_dir=models/tiny", "--data_dir=drawings", "--split=val")
    evaluated = run("dsg-eval", *flags)
    assert evaluated.returncode == 0, evaluated.stderr
    assert json.loads((tmp_path / "runs" / "models" / "tiny" / "eval_val.json").read_text())["num_images"] == 2
    exported = run("dsg-export", "--model_dir=models/tiny", "--output_dir=exported")
    assert exported.returncode == 0, exported.stderr
    assert (tmp_path / "exported" / "1" / "assets" / "vocabulary.json").exists()
    assert {path.name: path.stat().st_mtime_ns for path in place.iterdir()} == before
    (tmp_path / "photo.png").write_bytes(tiny_data.draw("test", 0).image)
    asked = run("dsg-ask", "--model=tiny", "photo.png", "red square left of a disc", "--json", "--output=answer.png")
    assert asked.returncode == 0 and asked.stderr == "", asked.stderr
    assert json.loads(asked.stdout)["understood"] == "red square; left of: left; disc: red disc, blue disc"
    assert (tmp_path / "answer.png").stat().st_size > 1000
    shutil.copytree(place, tmp_path / "models" / "tiny")  # One's own goes before it.
    os.remove(tmp_path / "models" / "tiny" / "vocabulary.json")
    refused = run("dsg-eval", *flags)
    assert refused.returncode == 1 and "'models/tiny/vocabulary.json'" in refused.stderr
    assert refused.stderr.splitlines()[-1].startswith("dsg-eval: ")
