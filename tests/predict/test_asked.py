"""Questions in free text, from the text to one answer: of a checkpoint, of an export, and of their numbers."""

import json
import shutil

import numpy as np
import pytest
import tiny_data

from dsg_tf.data.queries import Query
from dsg_tf.pack import packing
from dsg_tf.predict import answers, asked, checkpoint_model
from dsg_tf.predict.asked import Asked
from dsg_tf.predict.checkpoint_model import CheckpointModel
from dsg_tf.predict.exported_model import ExportedModel
from dsg_tf.predict.requests import Request
from dsg_tf.words.refusals import NotUnderstood
from export import export_saved_model

TEXTS = ("trained_on", "license", "command", "time")  # Of a packed model's card.
PHOTO = tiny_data.draw("test", 0).image
FREE = ["a red thing left of the blue disc", "Squares above discs", "red square, left, blue disc"]
BOXES = np.array([[0.0, 0, 1, 1], [1, 1, 2, 2], [2, 2, 3, 3]])
# Two boxes count; background, subject, object, other of each box for each of three triplets.
ROLES = np.array(
    [
        [[0.1, 0.6, 0.2, 0.1], [0.8, 0.1, 0.1, 0.0], [0, 0, 0, 0]],
        [[0.5, 0.3, 0.1, 0.1], [0.3, 0.2, 0.5, 0.0], [0, 0, 0, 0]],
        [[0.4, 0.2, 0.3, 0.1], [0.9, 0.0, 0.1, 0.0], [0, 0, 0, 0]],
    ]
)
OUTPUTS = {
    "boxes": BOXES,
    "valid": np.array([True, True, False]),
    "role_probabilities": ROLES,
    "subject_scores": ROLES[..., 1],
    "object_scores": ROLES[..., 2],
    "subject_mask": np.array([[1, 0, 0], [1, 0, 0], [1, 0, 0]], bool),
    "object_mask": np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0]], bool),
    "answer_probability": np.array([0.3, 0.7, 0.1]),
}
TRIPLETS = (("cube", "left", "ball"), ("cube", "left", "cone"), ("disc", "left", "ball"))


def test_one_triplet_is_answered_as_the_model_does():
    question = Asked("q", TRIPLETS[:1], "what")
    for row in range(3):
        found, expected = question.answer(OUTPUTS, row).as_dict(), answers.read("q", OUTPUTS, row).as_dict()
        assert found.pop("understood") == "what" and found == expected


def test_several_triplets_are_one_answer():
    answer = Asked("q", TRIPLETS, "what").answer(OUTPUTS)
    assert (answer.query, answer.understood, answer.answer_probability) == ("q", "what", 0.7)
    assert answer.subject_score == 0.6
    np.testing.assert_array_equal(answer.subject_boxes, BOXES[:1])
    assert answer.object_score == 0.5
    np.testing.assert_array_equal(answer.object_box, BOXES[1])
    np.testing.assert_array_equal(answer.object_boxes, BOXES[1:2])
    later = {
        name: value if name in asked.OF_BOXES else np.concatenate([value, value]) for name, value in OUTPUTS.items()
    }
    assert Asked("q", TRIPLETS, "what").answer(later, 3).as_dict() == answer.as_dict()


def test_without_labels_the_masks_count_of_triplets_that_are_there_or_of_the_best():
    """As of TWO STEP models."""
    outputs = {name: value for name, value in OUTPUTS.items() if name != "role_probabilities"}
    found = Asked("q", TRIPLETS, "").answer(outputs)
    np.testing.assert_array_equal(found.subject_boxes, BOXES[:1])
    np.testing.assert_array_equal(found.object_boxes, BOXES[1:2])  # The others' best boxes are no answers.


def test_pieces_and_what_is_joined_again(monkeypatch):
    monkeypatch.setattr(asked, "AT_ONCE", 2)
    questions = [Asked("p", TRIPLETS, ""), Asked("q", TRIPLETS[:1], "")]
    assert asked.pieces(questions) == [TRIPLETS[:2], (TRIPLETS[2], TRIPLETS[0])] and asked.pieces([]) == []
    halves = [
        {name: value if name in asked.OF_BOXES else value[rows] for name, value in OUTPUTS.items()}
        for rows in (slice(0, 2), slice(2, 3))
    ]
    for name, value in asked.joined(halves).items():
        np.testing.assert_array_equal(value, OUTPUTS[name])


def test_a_checkpoint_is_asked_in_free_text(model_dir, monkeypatch):
    model = CheckpointModel.load(model_dir)
    found = model.answer(PHOTO, FREE)
    assert [answer.understood for answer in found] == [
        "red thing: red square, red disc; left of: left; blue disc",
        "squares: red square, green square, blue square; above; discs: red disc, blue disc",
        "red square; left; blue disc",
    ]
    square, disc = model.answer(PHOTO, ["red square, left, blue disc", "red disc, left, blue disc"])
    assert found[0].answer_probability == pytest.approx(max(square.answer_probability, disc.answer_probability))
    assert found[0].subject_score == pytest.approx(max(square.subject_score, disc.subject_score), rel=1e-5)
    assert {**found[2].as_dict(), "query": ""} == {**square.as_dict(), "query": ""}
    monkeypatch.setattr(checkpoint_model, "_AT_ONCE", 3)
    for one, other in zip(model.answer(PHOTO, FREE), found):
        np.testing.assert_allclose(one.subject_scores, other.subject_scores, atol=1e-5)
        assert one.understood == other.understood
    assert model.answer(PHOTO, []) == []
    with pytest.raises(NotUnderstood, match="unknown subject 'zebra'"):
        model.answer(PHOTO, ["zebra left of a disc"])


def test_an_export_says_the_same(model_dir, exported, monkeypatch):
    expected = [answer.as_dict() for answer in CheckpointModel.load(model_dir).answer(PHOTO, FREE)]
    model = ExportedModel(exported)
    texts = [*FREE, "zebra left of a disc"]
    requests = [Request(name, PHOTO, tuple(map(Query.parse, some))) for name, some in (("a", texts), ("b", FREE[:1]))]
    for at_once in (64, 4):
        monkeypatch.setattr(asked, "AT_ONCE", at_once)
        lines = model.lines(requests)
        (*found, refused) = lines[0]["answers"]
        for answer, before in zip(found + lines[1]["answers"], expected + expected[:1]):
            assert (answer["query"], answer["understood"]) == (before["query"], before["understood"])
            np.testing.assert_allclose(answer["subject_scores"], before["subject_scores"], atol=2e-5)
            np.testing.assert_allclose(answer["object_boxes"], before["object_boxes"], atol=0.02)
        assert refused["error"]["kind"] == "bad_query" and "unknown subject 'zebra'" in refused["error"]["message"]


def test_words_of_the_models_own_go_along(model_dir, tmp_path):
    shutil.copytree(model_dir, tmp_path / "model")
    (tmp_path / "model" / "aliases.json").write_text(json.dumps({"entities": [["red disc", "dot"]]}))
    packing.pack(str(tmp_path / "model"), str(tmp_path / "packed"), {"limit": [], **dict.fromkeys(TEXTS, "none")})
    exported = export_saved_model.export(str(tmp_path / "packed"), str(tmp_path / "exported"))
    text = "dot left of blue disc"
    (answer,) = CheckpointModel.load(str(tmp_path / "packed")).answer(PHOTO, [text])
    (line,) = ExportedModel(exported).lines([Request("a", PHOTO, (Query.parse(text),))])
    assert answer.understood == line["answers"][0]["understood"] == "dot: red disc; left of: left; blue disc"
