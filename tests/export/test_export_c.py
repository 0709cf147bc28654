"""The SavedModel in a runtime without Python."""

import glob
import os
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf
import tiny_data
from tensorflow.core.protobuf import saved_model_pb2

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "c_api", "refer.c")
WORDS = ("red square", "left", "blue disc")

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    root = tf.sysconfig.get_lib()
    libraries = glob.glob(os.path.join(root, "libtensorflow_cc.so.2")) + glob.glob(
        os.path.join(root, "libtensorflow_framework.so.2")
    )
    if len(libraries) != 2:
        pytest.skip("this TensorFlow wheel carries no C library")
    binary = str(tmp_path_factory.mktemp("c") / "refer")
    subprocess.run(
        [compiler, SOURCE, "-o", binary, f"-I{tf.sysconfig.get_include()}", *libraries, f"-Wl,-rpath,{root}"],
        check=True,
    )
    return binary


def names(exported):
    """{input: operation}, {output: "operation:index"} of the default signature."""
    saved = saved_model_pb2.SavedModel()
    with open(os.path.join(exported, "saved_model.pb"), "rb") as file:
        saved.ParseFromString(file.read())
    signature = saved.meta_graphs[0].signature_def["serving_default"]
    return (
        {name: info.name.split(":")[0] for name, info in signature.inputs.items()},
        {name: info.name for name, info in signature.outputs.items()},
    )


def run(program, exported, image, words, output):
    inputs, outputs = names(exported)
    operations = [inputs[name] for name in ("image", "subject", "relation", "object")]
    return subprocess.run(
        [program, exported, image, *words, outputs[output], *operations],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
    )


def test_the_c_api_gives_the_numbers_of_python(program, exported, tmp_path):
    image = tmp_path / "image.png"
    image.write_bytes(tiny_data.draw("test", 3).image)
    columns = [tf.constant([[word]]) for word in WORDS]
    expected = tf.saved_model.load(exported).signatures["serving_default"](
        image=tf.constant([image.read_bytes()]), subject=columns[0], relation=columns[1], object=columns[2]
    )
    for output in ("boxes", "role_probabilities", "subject_box"):
        done = run(program, exported, str(image), WORDS, output)
        assert done.returncode == 0, done.stderr[-2000:]
        numbers = np.array(done.stdout.split(), np.float32)
        np.testing.assert_allclose(numbers, expected[output].numpy().ravel(), rtol=1e-5, atol=1e-5)
    assert expected["valid"].numpy().any()


def test_errors_reach_a_c_program(program, exported, tmp_path):
    image = tmp_path / "image.png"
    image.write_bytes(b"no image")
    done = run(program, exported, str(image), WORDS, "boxes")
    assert done.returncode == 1 and "code 3" in done.stderr  # INVALID_ARGUMENT
    assert "image 0 of the batch is not a JPEG, PNG or WebP file" in done.stderr
    image.write_bytes(tiny_data.draw("test", 3).image)
    done = run(program, exported, str(image), ("red square", "left", "zebra"), "boxes")
    assert done.returncode == 1 and "unknown object: zebra" in done.stderr
