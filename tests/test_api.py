"""Models from Python: what is loaded by name, pictures of every kind, answers and graphs as objects and as pictures."""

import dataclasses
import io
import random
import shutil
import subprocess
import sys

import commands
import numpy as np
import pytest
import tiny
import tiny_data
from PIL import Image

import dsg_tf
from dsg_tf import config as config_lib
from dsg_tf.drawing import answer_pictures
from dsg_tf.evaluation.analysis import scene_graphs
from dsg_tf.keras import keras
from dsg_tf.predict import graphs
from dsg_tf.predict.checkpoint_model import CheckpointModel
from dsg_tf.predict.image_model import EncodedImage
from dsg_tf.words.refusals import NotUnderstood

PHOTO = tiny_data.draw("test", 0).image
PIXELS = np.asarray(Image.open(io.BytesIO(PHOTO)).convert("RGB"))
FREE = ["a red thing left of the blue disc", "red square, left, blue disc"]


@pytest.fixture(scope="module")
def model(model_dir):
    return dsg_tf.load_model(model_dir)


def same(one, other, at=1e-4):
    """Answers, but for the last digits of numbers: batches are summed in another order."""
    for field in dataclasses.fields(one):
        first, second = getattr(one, field.name), getattr(other, field.name)
        if isinstance(first, (np.ndarray, float)):
            np.testing.assert_allclose(first, second, atol=at, rtol=1e-4, err_msg=field.name)
        elif field.name != "image":
            assert first == second, field.name


@pytest.mark.process
def test_the_package_alone_imports_nothing():
    code = "import sys, dsg_tf; print(sorted({'numpy', 'tensorflow', 'PIL', 'dsg_tf.api'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], env=commands.ENVIRONMENT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
    code = (
        "import sys; from dsg_tf import load_model; print({'tensorflow', 'official', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=commands.ENVIRONMENT, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr  # A mistyped name of a model is told before they are imported.
    with pytest.raises(AttributeError, match="module 'dsg_tf' has no attribute 'load_modle'"):
        dsg_tf.load_modle  # noqa: B018


def test_a_text_has_an_answer_and_several_have_a_list(model, model_dir):
    expected = CheckpointModel.load(model_dir).answer(PHOTO, FREE)
    one, several = model.ask(PHOTO, FREE[0]), model.ask(PHOTO, FREE)
    assert isinstance(several, list) and len(several) == 2 and model.ask(PHOTO, []) == []
    for found, other in zip([one, *several], [expected[0], *expected]):
        assert found.as_dict() == other.as_dict()
    assert one.understood == "red thing: red square, red disc; left of: left; blue disc"
    height, width = PIXELS.shape[:2]
    assert (one.subject_boxes >= 0).all() and (one.subject_boxes <= [height, width, height, width]).all()
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.query = "another"


def test_what_is_found_depends_on_the_threshold(model):
    sure = model.ask(PHOTO, FREE[0]).answer_probability
    assert 0 < sure < 1
    for threshold, found in ((sure, True), (np.nextafter(sure, 1), False), (0.0, True), (1.0, False)):
        answer = model.ask(PHOTO, FREE[0], threshold=threshold)
        assert answer.found is found and (f"not found ({sure:.2f})" in str(answer)) is not found
    for threshold in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match=f"threshold={threshold} is a probability: 0 to 1"):
            model.ask(PHOTO, FREE[0], threshold=threshold)


def test_every_kind_of_picture_is_the_same(model, tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(PHOTO)
    expected = model.ask(PHOTO, FREE)
    alpha = np.dstack([PIXELS, np.zeros(PIXELS.shape[:2], np.uint8)])
    for picture in (str(path), path, bytearray(PHOTO), PIXELS, alpha, Image.fromarray(PIXELS), model.encode(path)):
        for found, other in zip(model.ask(picture, FREE), expected):
            same(found, other)
    grey = model.ask(PIXELS[..., 0], FREE[0])
    same(grey, model.ask(np.repeat(PIXELS[..., :1], 3, axis=2), FREE[0]))


def test_a_picture_that_is_none_is_named(model, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(PHOTO[:200])
    for picture in (broken, str(broken)):
        with pytest.raises(ValueError, match=f"^{broken}: not a JPEG or PNG image: "):
            model.ask(picture, FREE[0])
    with pytest.raises(ValueError, match=f"^{broken}: not"):
        model.ask_many([PHOTO, broken, PIXELS], FREE[0])
    with pytest.raises(ValueError, match="^the picture: not a JPEG"):
        model.scene_graph(b"")
    with pytest.raises(FileNotFoundError, match="no_such.png"):
        model.encode(tmp_path / "no_such.png")
    with pytest.raises(TypeError, match="a path, bytes, a PIL image or a uint8 array, not a NoneType"):
        model.ask(None, FREE[0])
    for wrong, told in (
        (PIXELS / 255, r"float64 \[48, 72, 3\]"),
        (PIXELS[np.newaxis], r"uint8 \[1, 48, 72, 3\]"),
        (PIXELS[..., :2], r"uint8 \[48, 72, 2\]"),
        (PIXELS[:0], r"uint8 \[0, 72, 3\]"),
    ):
        with pytest.raises(ValueError, match=f"uint8 .* or .h, w., not {told}"):
            model.ask(wrong, FREE[0])
    with pytest.raises(NotUnderstood, match="unknown subject 'zebra'"):
        model.ask(broken, "zebra left of a disc")  # A text is read before the picture.


def test_many_pictures_are_answered_as_each_alone(model):
    pictures = [tiny_data.draw("test", index).image for index in range(5)]
    pictures[3] = model.encode(pictures[3])
    expected = [model.ask(picture, FREE) for picture in pictures]
    for size in (1, 2, 8):
        found = model.ask_many(iter(pictures), FREE, batch_size=size)
        assert len(found) == 5
        for some, others in zip(found, expected):
            for one, other in zip(some, others):
                same(one, other, at=1e-3)
    alone = model.ask_many(pictures[:2], FREE[0])
    same(alone[1], expected[1][0], at=1e-3)
    assert model.ask_many([], FREE) == []
    with pytest.raises(ValueError, match="batch_size=0 must be at least 1"):
        model.ask_many(pictures, FREE, batch_size=0)


def test_the_network_looks_once_at_an_encoded_picture(model, monkeypatch):
    seen = model.encode(PHOTO)
    assert isinstance(seen, EncodedImage) and seen.image == PHOTO and "state" not in repr(seen)
    monkeypatch.setattr(model._model._model, "encode", None)
    assert model.ask(seen, FREE[0]).found in (True, False)
    assert len(model.scene_graph(seen).boxes)


def test_a_scene_graph_has_the_relations_that_the_analysis_finds(model, model_dir):
    graph = model.scene_graph(PHOTO)
    checkpoint = CheckpointModel.load(model_dir)
    (image,) = checkpoint.encode([PHOTO])
    outputs = {name: value.numpy() for name, value in image.state.items()}
    expected = scene_graphs.as_dict(graphs.read(outputs), tiny_data.VOCABULARY, np.ones(2))
    count = len(graph.boxes)
    assert count > 1 and len(graph.relations) == min(20, count * (count - 1)) == len(expected["relations"])
    for found, other in zip(graph.as_dict()["relations"], expected["relations"]):
        assert found | {"score": 0} == other | {"score": 0} and found["score"] == pytest.approx(
            other["score"], abs=1e-4
        )
    assert [entity["entity"] for entity in expected["entities"]] == graph.entities
    assert len(model.scene_graph(PHOTO, relations=2).relations) == 2
    first = graph.relations[0]
    assert f"{first[0] + 1} {graph.entities[first[0]]} - {first[1]} - {first[2] + 1} " in str(graph)


def test_pictures_are_those_of_the_programs(model):
    answer, graph = model.ask(PHOTO, FREE[0], threshold=1.0), model.scene_graph(PHOTO)
    np.testing.assert_array_equal(answer.picture(), answer_pictures.draw(PHOTO, [answer], 1.0))
    assert (np.asarray(answer.picture()) != np.asarray(answer_pictures.draw(PHOTO, [answer], 0.0))).any()
    for shown in (answer, graph):
        with Image.open(io.BytesIO(shown._repr_png_())) as picture:
            assert picture.format == "PNG"
            np.testing.assert_array_equal(picture.convert("RGB"), shown.picture())
        assert len(repr(shown)) < 5000  # Not the bytes of the picture.


def test_an_export_answers_as_its_checkpoint(model, exported, tmp_path):
    # Not its own directory, where another test adds a version of less precision.
    shutil.copytree(exported, tmp_path / "1")
    other = dsg_tf.load_model(str(tmp_path))  # The newest of the versions.
    for one, two in zip(model.ask(PHOTO, FREE), other.ask(PHOTO, FREE)):
        same(one, two)
    pictures = [tiny_data.draw("test", index).image for index in range(3)]
    for one, two in zip(model.ask_many(pictures, FREE[0]), other.ask_many(pictures, FREE[0])):
        same(one, two)
    graph, expected = other.scene_graph(PHOTO), model.scene_graph(PHOTO, relations=5)  # What it was exported for.
    assert graph.relations == expected.relations and list(graph.entities) == list(expected.entities)
    np.testing.assert_allclose(graph.boxes, expected.boxes, atol=1e-3)
    assert len(other.scene_graph(PHOTO, relations=2).relations) == 2
    assert other.vocabulary == model.vocabulary == tiny_data.VOCABULARY
    with pytest.raises(ValueError, match="^the picture: is damaged"):
        other.ask(PHOTO[:-40], FREE[0])


def test_a_model_that_is_not_there_is_told_with_those_that_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"'celvr' is no model: neither one at hand \(.*clevr.*\), nor a dir"):
        dsg_tf.load_model("celvr")
    with pytest.raises(FileNotFoundError, match="holds only weights to start a training from"):
        dsg_tf.load_model("nanodet_plus_m")
    config_lib.save(tiny.config(model="vrd"), str(tmp_path / "maps"))
    with pytest.raises(ValueError, match="'vrd' answers with maps, not with boxes"):
        dsg_tf.load_model(tmp_path / "maps")


def test_loading_leaves_numbers_by_chance_and_the_policy_as_they_are(model_dir):
    random.seed(5)
    np.random.seed(5)
    before = random.getstate(), np.random.get_state()[1].tolist(), keras.mixed_precision.global_policy().name
    dsg_tf.load_model(model_dir)
    assert before[0] == random.getstate() and before[1] == np.random.get_state()[1].tolist()
    assert keras.mixed_precision.global_policy().name == before[2]


@pytest.mark.process
def test_loading_leaves_the_plots_of_a_notebook_where_they_are_shown(model_dir):
    """Model Garden asks for another way of drawing when it is imported, which no notebook would show."""
    code = (
        "import matplotlib; matplotlib.use('svg'); import dsg_tf, sys; dsg_tf.load_model(sys.argv[1]); "
        "shown = matplotlib.get_backend(); matplotlib.use('pdf'); print(shown, matplotlib.get_backend())"
    )
    command = [sys.executable, "-c", code, model_dir]
    done = subprocess.run(command, env=commands.ENVIRONMENT, capture_output=True, text=True)
    assert done.stdout == "svg pdf\n", done.stderr[-3000:]
