"""Free text over REST: answered as the checkpoint answers it, refused with the part that is wrong."""

import base64
import json
import shutil

import numpy as np
import pytest
from pictures import FILES, QUERY
from server_process import serving

from dsg_tf.predict import checkpoint_model

pytestmark = pytest.mark.process

ASK = "/v1/models/dsg:ask"
TEXTS = ["a red thing left of the blue disc", "squares, to the left of, a disc", ", ".join(QUERY)]
PNG = {"b64": base64.b64encode(FILES["png"]).decode()}


@pytest.fixture(scope="module")
def server(exported, tmp_path_factory):
    base = tmp_path_factory.mktemp("questions") / "models"
    shutil.copytree(exported, base / "1")
    aliases = {"entities": [["red disc", "apple"]]}
    (base / "1" / "assets.extra" / "aliases.json").write_text(json.dumps(aliases), encoding="utf-8")
    with serving(base, "--max_queries=300") as running:
        yield running


def test_free_text_is_answered_as_by_the_checkpoint(server, model_dir):
    expected = checkpoint_model.CheckpointModel.load(model_dir).answer(FILES["png"], TEXTS)
    for path in (ASK, "/v1/models/dsg/versions/1:ask"):
        code, found = server.rest(path, {"image": PNG, "queries": TEXTS})
        assert code == 200 and list(found) == ["answers"] and len(found["answers"]) == len(TEXTS)
        for one, other in zip(found["answers"], expected):
            _assert_same(one, other.as_dict())


def test_a_question_of_many_triplets_is_asked_in_pieces(server, model_dir):
    text = "anything left of anything"
    (expected,) = checkpoint_model.CheckpointModel.load(model_dir).answer(FILES["large"], [text])
    image = {"b64": base64.b64encode(FILES["large"]).decode()}
    code, found = server.rest(ASK, {"image": image, "queries": [text] * 9})
    assert code == 200
    for answer in found["answers"]:
        _assert_same(answer, expected.as_dict())
    assert int(server.wait_for(r"ask OK .*: 9 questions, (\d+) triplets, version 1").group(1)) > 64
    assert 'signature="ask"' in server.metrics()


def test_words_of_the_model_itself_are_known(server):
    code, found = server.rest(ASK, {"image": PNG, "queries": ["the apple above a disc"]})
    assert code == 200 and found["answers"][0]["understood"].startswith("apple: red disc; above; disc:")


@pytest.mark.parametrize(
    "body, code, message",
    [
        ({"image": PNG, "queries": ["a square left of a zebra"]}, 400, "unknown object 'zebra'"),
        ({"image": PNG, "queries": [TEXTS[0], "zebra"]}, 400, "'zebra' is not understood"),
        ({"image": {"b64": "bm8="}, "queries": TEXTS}, 400, "image 0 of the batch is not a JPEG"),
        ({"image": {"b64": "?"}, "queries": TEXTS}, 400, "image: Unable to base64 decode"),
        ({"image": "photo.png", "queries": TEXTS}, 400, "'image' must be {\"b64\": ...}, not 'photo.png'"),
        ({"image": PNG, "queries": []}, 400, "'queries' must be a list of texts, at least one"),
        ({"image": PNG, "queries": TEXTS[0]}, 400, "'queries' must be a list of texts"),
        ({"image": PNG, "queries": [1]}, 400, "'queries' must be a list of texts"),
        ({"image": PNG, "query": TEXTS}, 400, "the keys must be image and queries, not image, query"),
        ({"image": PNG, "queries": ["anything left of anything"] * 200}, 429, "queries, more than 300"),
        ({"image": PNG, "queries": ["zebra"] * 301}, 429, "1 x 301 queries, more than 300"),
    ],
)
def test_what_is_wrong_is_named(server, body, code, message):
    status, found = server.rest(ASK, body)
    assert status == code and message in found["error"], found


def test_an_unknown_model_or_version_and_an_export_without_words(server, exported, tmp_path):
    body = {"image": PNG, "queries": TEXTS}
    for path in ("/v1/models/other:ask", "/v1/models/dsg/versions/9:ask"):
        assert server.rest(path, body)[0] == 404
    shutil.copytree(exported, tmp_path / "models" / "2")
    (tmp_path / "models" / "2" / "assets" / "vocabulary.json").unlink()
    with serving(tmp_path / "models") as older:
        status, found = older.rest(ASK, body)
    assert status == 501 and "exported without its words" in found["error"]


def _assert_same(found, expected):
    assert {name: found[name] for name in ("query", "understood")} == {
        name: expected[name] for name in ("query", "understood")
    }
    assert set(found) == set(expected)
    for name in set(found) - {"query", "understood"}:
        np.testing.assert_allclose(found[name], expected[name], atol=2e-2 if "box" in name else 2e-5, err_msg=name)
