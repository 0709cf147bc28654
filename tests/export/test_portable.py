"""What --format=tflite and --format=onnx write, in LiteRT and ONNX Runtime: the answers of the SavedModel."""

import importlib.util
import json
import os
import re
import sys

import numpy as np
import pytest
import tensorflow as tf
import tiny
import tiny_data
from paths import ROOT
from pictures import FILES

from dsg_tf import config as config_lib
from export import export_saved_model
from export.portable import onnx

HEIGHT, WIDTH = tiny.EXPORTED.image_size
SIZES = ((HEIGHT, WIDTH), (HEIGHT - 5, WIDTH), (HEIGHT, 40))


def installed(*packages):
    return all(importlib.util.find_spec(package) for package in packages)


needs = {
    "tflite": pytest.mark.skipif(not installed("ai_edge_litert"), reason="needs LiteRT: pip install -e '.[tflite]'"),
    "onnx": pytest.mark.skipif(
        not installed("tf2onnx", "onnxruntime"), reason="needs tf2onnx and ONNX Runtime: pip install -e '.[onnx]'"
    ),
}
in_both = pytest.mark.parametrize("format", [pytest.param(name, marks=mark) for name, mark in needs.items()])


@pytest.fixture(scope="module")
def version(shared, model_dir):
    """Makes the export in a format and returns the directory of its version."""

    def of(format):
        folder = shared(format, lambda path: export_saved_model.export(model_dir, path, format=format))
        return os.path.join(folder, "1")

    return of


def runtime(folder, format):
    """`run(signature, inputs)` to outputs by name."""
    if format == "tflite":
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(os.path.join(folder, "model.tflite"))
        return lambda signature, inputs: interpreter.get_signature_runner(signature)(**inputs)
    import onnxruntime

    def run(signature, inputs):
        session = onnxruntime.InferenceSession(os.path.join(folder, f"{signature}.onnx"))
        return dict(zip([output.name for output in session.get_outputs()], session.run(None, inputs)))

    return run


def an_image(size, seed):
    image = np.zeros([1, HEIGHT, WIDTH, 3], np.uint8)
    image[0, : size[0], : size[1]] = np.random.default_rng(seed).integers(0, 256, [*size, 3])
    return {"image": image, "image_size": np.array([size], np.float32)}


def some_queries(count):
    limits = [tiny.NUM_ENTITIES, tiny.NUM_RELATIONS, tiny.NUM_ENTITIES]
    return {"queries": np.random.default_rng(count).integers(0, limits, [1, count, 3]).astype(np.int32)}


def assert_same(found, expected):
    for name, value in found.items():
        assert value.shape == expected[name].shape and value.dtype == expected[name].dtype, name
        if value.dtype == bool:
            np.testing.assert_array_equal(value, expected[name], err_msg=name)
        else:
            np.testing.assert_allclose(value, expected[name], atol=1e-3 if "box" in name else 1e-4, err_msg=name)


@in_both
def test_answers_are_those_of_the_saved_model(version, exported, format):
    run = runtime(version(format), format)
    signature = tf.saved_model.load(exported).signatures["refer_ids"]
    boxes = 0
    for seed, (size, count) in enumerate(zip(SIZES, (1, 3, 50))):
        image, queries = an_image(size, seed), some_queries(count)
        inputs = {**image, "image": image["image"].astype(np.float32), **queries}
        expected = {
            name: value.numpy() for name, value in signature(**{k: tf.constant(v) for k, v in inputs.items()}).items()
        }
        answer = run("refer_ids", {**image, **queries})
        assert set(answer) == set(expected)
        assert_same(answer, expected)
        state = run("encode", image)
        later = run("answer", {**state, **queries})
        assert set(later) == set(expected) - {"boxes", "valid"}
        assert_same({"boxes": state["boxes"], "valid": state["valid"], **later}, expected)
        boxes += expected["valid"].sum()
    assert boxes > len(SIZES)


@in_both
def test_the_table_beside_it_has_what_the_runtime_takes_and_gives(version, format):
    with open(os.path.join(version(format), "signatures.json"), encoding="utf-8") as file:
        table = json.load(file)
    assert table["vocabulary"]["entities"] == list(tiny_data.VOCABULARY.entities)
    assert table["source"]["config"]["short_side"] == tiny.EXPORTED.short_side
    assert set(table["signatures"]) == {"refer_ids", "encode", "answer"}
    image, queries = an_image(SIZES[0], 0), some_queries(2)
    run = runtime(version(format), format)
    state = run("encode", image)
    inputs = {"refer_ids": {**image, **queries}, "encode": image, "answer": {**state, **queries}}
    for name, signature in table["signatures"].items():
        for kind, values in (("inputs", inputs[name]), ("outputs", run(name, inputs[name]))):
            said = {key: (entry["dtype"], entry["shape"]) for key, entry in signature[kind].items()}
            assert set(values) == set(said), (name, kind)
            for key, value in values.items():
                dtype, shape = said[key]
                assert value.dtype == np.dtype(dtype) and len(value.shape) == len(shape), (name, key)
                assert all(of is None or of == length for of, length in zip(shape, value.shape)), (name, key)
    assert table["signatures"]["encode"]["outputs"]["boxes"]["meaning"].endswith("pixels of the network input")


@in_both
def test_the_example_of_the_documentation(version, exported, format, tmp_path, monkeypatch):
    with open(os.path.join(ROOT, "docs", "serving.md"), encoding="utf-8") as file:
        section = file.read().split("\n## Without TensorFlow\n")[1].split("\n## ")[0]
    examples = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.png").write_bytes(FILES["large"])
    (tmp_path / "exported").mkdir()
    for name in ("tflite", "onnx"):  # Only one of them may be installed.
        (tmp_path / "exported" / f"clevr_{name}").symlink_to(os.path.dirname(version(format)))
    code = examples[0] + examples[1 if format == "tflite" else 2]
    triplet = ("red square", "left", "blue disc")
    for word, ours in zip(("red rubber cube", "left", "blue metal sphere"), triplet):
        assert word in code
        code = code.replace(word, ours)
    values: dict = {}
    exec(code, values)
    words = {role: tf.constant([[word]]) for role, word in zip(("subject", "relation", "object"), triplet)}
    expected = tf.saved_model.load(exported).signatures["refer"](image=tf.constant([FILES["large"]]), **words)
    # Pillow and TensorFlow round pixels of a smaller picture to different sides.
    np.testing.assert_allclose(values["box"], expected["subject_box"][0, 0], atol=0.5)


def test_formats_that_do_not_go_together(model_dir, exported, tmp_path):
    with pytest.raises(ValueError, match=r"saved_model.pb is a version in --format=saved_model, not tflite"):
        export_saved_model.export(model_dir, os.path.dirname(exported), format="tflite")
    with pytest.raises(ValueError, match=r"--precision=mixed_bfloat16 does not go with --format=tflite"):
        export_saved_model.export(model_dir, str(tmp_path), format="tflite", precision="mixed_bfloat16")
    with pytest.raises(ValueError, match=r"--jit_compile does not go with --format=onnx"):
        export_saved_model.export(model_dir, str(tmp_path), format="onnx", jit_compile=True)
    config_lib.save(tiny.config(roi_op="integral"), str(tmp_path / "integral"))
    with pytest.raises(ValueError, match=r"LiteRT lacks what --roi_op=integral needs"):
        export_saved_model.export(str(tmp_path / "integral"), str(tmp_path), format="tflite")
    assert os.listdir(tmp_path) == ["integral"]


def test_without_the_extra(model_dir, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(ValueError, match=r"--format=onnx needs tf2onnx \(.*\): pip install -e '.\[onnx\]'"):
        export_saved_model.export(model_dir, str(tmp_path), format="onnx")
    assert not os.listdir(tmp_path)


@needs["onnx"]
def test_a_file_with_an_operation_that_onnx_lacks_is_refused(tmp_path):
    convert = tf.function(lambda text: tf.strings.to_hash_bucket_fast(tf.strings.as_string(text), 10), autograph=False)
    functions = {"hash": convert.get_concrete_function(tf.TensorSpec([None], tf.int32, name="text"))}
    with pytest.raises(ValueError, match=r"hash.onnx is not what ONNX takes: .*StringToHashBucketFast"):
        onnx.write(functions, str(tmp_path))


@needs["onnx"]
def test_a_file_with_an_input_of_its_own_is_refused(tmp_path):
    outside = tf.constant([1.0, 2.0])  # A tensor is captured; tf2onnx makes it an input.
    function = tf.function(lambda x: x + outside, autograph=False)
    functions = {"sum": function.get_concrete_function(x=tf.TensorSpec([2], tf.float32, name="x"))}
    with pytest.raises(ValueError, match=r"sum.onnx has the inputs \[.*'x'\], not \['x'\]"):
        onnx.write(functions, str(tmp_path))
