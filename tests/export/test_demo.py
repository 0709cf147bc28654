"""The page's server: pictures in, answers and pictures out, and errors as sentences."""

import io

import commands
import numpy as np
import pytest
import tiny_data
from demo_visits import question, visit
from PIL import Image

from dsg_tf import load_model
from dsg_tf.drawing import answer_pictures
from dsg_tf.predict.answers import LabelledGraph
from export.demo import examples, pictures, views

PHOTO = tiny_data.draw("test", 0).image
TEXT = "a red thing left of the blue disc"


@pytest.fixture(scope="module")
def view(model_dir):
    return views.OfModel(model_dir)


def test_a_picture_is_looked_at_asked_about_and_drawn(view, model_dir):
    model = load_model(model_dir)
    expected, graph = model.ask(PHOTO, TEXT, threshold=1), model.scene_graph(PHOTO, 992)
    drawn = lambda name: lambda found: ("GET", f"/pictures/{found[0][1]['key']}/{name}", None)
    (_, seen), (status, answer), (_, png), (_, graph_png) = visit(
        view,
        ("POST", "/pictures", PHOTO),
        question(f"  {TEXT} "),
        drawn(f"answer.png?threshold=1&text={TEXT}"),
        drawn("graph.png"),
    )
    assert status == 200 and answer == expected.as_dict()
    assert seen["size"] == [48, 72] and seen["problem"] == "" and seen["graph"] == graph.as_dict()
    assert len(graph.relations) == len(graph.boxes) * (len(graph.boxes) - 1)
    for content, picture in (
        (png, expected.picture()),
        (graph_png, answer_pictures.draw_graph(to_image(PHOTO), graph)),
    ):
        np.testing.assert_array_equal(to_image(content), picture)


def to_image(content):
    return Image.open(io.BytesIO(content)).convert("RGB")


def test_every_error_is_a_sentence(view, monkeypatch):
    gif = io.BytesIO()
    to_image(PHOTO).save(gif, "GIF")
    monkeypatch.setattr(pictures, "MAX_PIXELS", 10_000)
    wide = io.BytesIO()
    Image.new("RGB", (101, 100)).save(wide, "PNG")
    for body, status, sentence in (
        (b"hello", 400, "This is no picture that can be read: a JPEG, PNG or WebP file is needed."),
        (b"", 400, "This is no picture that can be read: a JPEG, PNG or WebP file is needed."),
        (gif.getvalue(), 400, "This is a GIF file: a JPEG, PNG or WebP file is needed."),
        (wide.getvalue(), 400, "The picture has 101 × 100 pixels, more than 0 million."),
        (bytes(pictures.MAX_BYTES + 1), 413, "The file is larger than 20 MB."),
    ):
        assert visit(view, ("POST", "/pictures", body)) == [(status, {"error": sentence})]
    ((status, damaged),) = visit(view, ("POST", "/pictures", PHOTO[:600]))
    assert status == 400 and damaged["error"].startswith("Not a JPEG or PNG image: ")
    _, *found = visit(
        view,
        ("POST", "/pictures", PHOTO),
        question("zebra left of a disc"),
        question("   "),
        question(7),
        lambda found: ("POST", f"/pictures/{found[0][1]['key']}/questions", b"{"),
        lambda found: ("GET", f"/pictures/{found[0][1]['key']}/answer.png?threshold=high", None),
        ("POST", "/pictures/abc/questions", b"{}"),
        ("GET", "/pictures/abc/graph.png", None),
        ("GET", "/examples/99.jpg", None),
        ("GET", "/nothing", None),
    )
    assert [status for status, _ in found] == [400, 400, 400, 400, 400, 410, 410, 404, 404]
    assert found[0][1]["error"].startswith("Unknown subject 'zebra'")
    assert found[5][1] == {"error": "The picture was shown too long ago: show it again."}
    assert all(content["error"][-1:] in ".?" or "Not Found" in content["error"] for _, content in found)


def test_a_picture_is_looked_at_once_and_not_kept_for_ever(view, monkeypatch):
    looked, encode = [], view.encode
    monkeypatch.setattr(view, "encode", lambda image: looked.append(image) or encode(image))
    monkeypatch.setattr(pictures, "_KEPT", 2)
    photos = [tiny_data.draw("test", index).image for index in range(3)]
    order = [0, 0, 1, 0, 2, 1]  # With the third, the second has to go.
    found = visit(view, *[("POST", "/pictures", photos[number]) for number in order], question(TEXT))
    assert [photos.index(image) for image in looked] == [0, 1, 2, 1] and found[-1][0] == 410
    assert found[0][1] == found[1][1] == found[3][1]


def test_a_model_without_graphs_answers_all_the_same(view, monkeypatch):
    def refuse(image, encoded):
        raise ValueError("this system has no label heads")

    monkeypatch.setattr(view, "scene_graph", refuse)
    (_, seen), (status, answer), (missing, _) = visit(
        view,
        ("POST", "/pictures", PHOTO),
        question(TEXT),
        lambda found: ("GET", f"/pictures/{found[0][1]['key']}/graph.png", None),
    )
    assert seen["graph"] is None and seen["questions"] == [] and (status, missing) == (200, 404)
    assert seen["problem"] == "There is no scene graph: this system has no label heads."


def test_examples_are_rendered_and_the_files_are_there(view):
    found = visit(view, *[("GET", path, None) for path in ("/", "/about", "/examples/0.jpg", "/static/page.js")])
    assert [status for status, _ in found] == [200] * 4
    assert b"<title>" in found[0][1] and found[1][1]["examples"] == [0, 1, 2, 3]
    assert to_image(found[2][1]).size == (320, 240)
    assert "http://" not in found[0][1].decode() and "https://" not in found[0][1].decode()


def test_questions_hold_by_the_graph_but_for_the_last():
    names = ["cube", "ball", "cone", "ball", "disc", "hat"]
    relations = [(0, "left", 1), (1, "right", 0), (1, "on", 3), (2, "on", 0), (2, "front", 4), (4, "under", 5)]
    graph = LabelledGraph(np.zeros([6, 4]), names, np.ones(6), relations, np.ones(6))
    assert examples.questions(graph) == ["cube left of ball", "something in front of disc", "ball left of cube"]
    none = LabelledGraph(np.zeros([0, 4]), [], np.zeros(0), [], np.zeros(0))
    assert examples.questions(none) == []


def test_a_picture_is_called_a_picture(view, monkeypatch):
    for told, sentence in (
        ("the picture: is damaged", "The picture is damaged."),
        ("image 0 of the batch is damaged", "The picture is damaged."),
        ("the picture: not a JPEG or PNG image: what?", "Not a JPEG or PNG image: what?"),
    ):

        def refuse(image, told=told):
            raise ValueError(told)

        monkeypatch.setattr(view, "encode", refuse)
        assert visit(view, ("POST", "/pictures", PHOTO)) == [(400, {"error": sentence})]


def test_a_server_that_is_not_there_is_a_sentence():
    view = views.OfServer("localhost:1", "other")
    assert view.flag == ("--server=localhost:1", "--model_name=other")
    ((status, content),) = visit(view, ("POST", "/pictures", PHOTO))
    assert status == 502 and content["error"].startswith("UNAVAILABLE: ")


@pytest.mark.process
@pytest.mark.parametrize(
    "flags, sentence",
    [
        ({"model": "clevr", "server": "localhost:1"}, "--model=clevr and --server=localhost:1: give one"),
        ({"model_name": "dsg"}, "--model_name=dsg is that of a model at a --server"),
        ({"model": "celvr"}, "'celvr' is no model: neither one at hand"),
    ],
)
def test_flags_that_do_not_fit_are_told_at_once(flags, sentence):
    done = commands.run("export.demo", **flags)
    assert done.returncode == 1 and done.stderr.startswith(f"demo: {sentence}")
