"""Answers to queries and scene graphs as data: one form, whatever they were read from."""

import json

import numpy as np
import pytest

from dsg_tf.predict import answers

BOXES = np.array([[1.0, 2, 3, 4], [10.123456, 20, 30, 40], [5, 6, 7, 8], [0, 0, 0, 0]], np.float32)
VALID = np.array([True, True, True, False])
MASK = np.array([[False, False, False, False], [True, True, False, False]])
SUBJECTS = np.array([[0.0, 0.0, 0.0, 0.0], [0.25, 0.7, 0.123456789, 0.0]], np.float32)
OBJECTS = np.array([[0.0, 0.0, 0.0, 0.0], [0.1, 0.2, 0.6, 0.0]], np.float32)
OUTPUTS = {
    "boxes": BOXES,
    "valid": VALID,
    "subject_mask": MASK,
    "object_mask": MASK[:, ::-1],
    "subject_scores": SUBJECTS,
    "object_scores": OBJECTS,
    "answer_probability": np.array([0.0, 0.87654321], np.float32),
}


def test_an_answer_has_the_most_probable_box_and_the_answer_set_best_first():
    answer = answers.read("dog, on, hat", OUTPUTS, 1)
    assert answer.query == "dog, on, hat"
    np.testing.assert_array_equal(answer.subject_box, BOXES[1])
    np.testing.assert_array_equal(answer.subject_boxes, BOXES[[1, 0]])
    np.testing.assert_array_equal(answer.subject_scores, SUBJECTS[1, [1, 0]])
    np.testing.assert_array_equal(answer.object_box, BOXES[2])
    np.testing.assert_array_equal(answer.object_boxes, BOXES[[2, 3]])
    assert (answer.subject_score, answer.object_score) == (pytest.approx(0.7), pytest.approx(0.6))


def test_boxes_of_equal_scores_stay_in_order():
    outputs = {**OUTPUTS, "subject_mask": np.ones([1, 4], bool), "subject_scores": np.full([1, 4], 0.5)}
    np.testing.assert_array_equal(answers.read("q", outputs, 0).subject_boxes, BOXES)


def test_as_json_numbers_are_rounded_and_an_empty_set_is_an_empty_list():
    assert json.loads(json.dumps(answers.read("dog, on, hat", OUTPUTS, 1).as_dict())) == {
        "query": "dog, on, hat",
        "answer_probability": 0.87654,
        "subject_box": [10.12, 20.0, 30.0, 40.0],
        "subject_score": 0.7,
        "subject_boxes": [[10.12, 20.0, 30.0, 40.0], [1.0, 2.0, 3.0, 4.0]],
        "subject_scores": [0.7, 0.25],
        "object_box": [5.0, 6.0, 7.0, 8.0],
        "object_score": 0.6,
        "object_boxes": [[5.0, 6.0, 7.0, 8.0], [0.0, 0.0, 0.0, 0.0]],
        "object_scores": [0.6, 0.0],
    }
    nothing = answers.read("q", OUTPUTS, 0).as_dict()
    assert nothing["subject_boxes"] == nothing["object_scores"] == [] and nothing["subject_score"] == 0.0


def test_what_is_less_probable_than_the_threshold_is_not_found():
    there, absent = answers.read("q", OUTPUTS, 1), answers.read("q", OUTPUTS, 0)
    assert (there.not_found(), absent.not_found()) == ("", "not found (0.00)")
    assert there.not_found(0.9) == "not found (0.88)" and not there.not_found(there.answer_probability)
    old = answers.read("q", {name: value for name, value in OUTPUTS.items() if name != "answer_probability"}, 1)
    assert old.answer_probability is None and not old.not_found(1.0)


def test_models_that_version_0_1_exported_are_read_alike():
    """They have probabilities of all boxes, of those that do not count too; TWO STEP models have that of the pair."""
    probabilities = np.zeros([2, 4, 4], np.float32)
    probabilities[..., 1], probabilities[..., 2] = SUBJECTS, OBJECTS
    probabilities[:, 3, 1:3] = 0.99
    without = {name: value for name, value in OUTPUTS.items() if not name.endswith("_scores")}
    old = answers.read("q", {**without, "role_probabilities": probabilities}, 1)
    assert old.as_dict() == answers.read("q", OUTPUTS, 1).as_dict()
    del without["answer_probability"]
    assert answers.read("q", {**without, "role_probabilities": probabilities}, 1).as_dict() == {
        **old.as_dict(),
        "answer_probability": None,
    }

    pair = {"subject_score": np.array([0.0, 0.4], np.float32), "object_score": np.array([0.0, 0.4], np.float32)}
    two_step = answers.read("q", {**without, **pair}, 1).as_dict()
    assert two_step["subject_scores"] == two_step["object_scores"] == [0.4, 0.4] and two_step["subject_score"] == 0.4
    assert two_step["subject_box"] == two_step["subject_boxes"][0] == [1.0, 2.0, 3.0, 4.0]


def test_a_graph_as_json():
    graph = answers.LabelledGraph(
        BOXES[:2], ["dog", "hat"], np.array([0.9, 0.8123456]), [(np.int32(1), "on", np.int32(0))], np.array([0.7123456])
    )
    assert json.loads(json.dumps(graph.as_dict())) == {
        "entities": [
            {"box": [1.0, 2.0, 3.0, 4.0], "entity": "dog", "score": 0.9},
            {"box": [10.12, 20.0, 30.0, 40.0], "entity": "hat", "score": 0.81235},
        ],
        "relations": [{"subject": 1, "relation": "on", "object": 0, "score": 0.71235}],
    }
