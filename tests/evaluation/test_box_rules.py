"""Answers by rule over true boxes, on scenes whose answers can be read off."""

import numpy as np
import pytest
import tensorflow as tf

from dsg_tf.data.roles import ROLES
from dsg_tf.evaluation.analysis import box_rules
from dsg_tf.objectives import metrics

RELATIONS = ("left", "right", "front", "behind")
DIRECTIONS = box_rules.directions(RELATIONS)
LEFT, RIGHT, FRONT, BEHIND = range(4)
CUBE, BALL = 0, 1
# Centers (y, x) in a picture of 100 x 200 pixels: cubes A, B and C from the left to the right and to the front, ball D.
SCENE = ([(20, 20), (50, 100), (80, 180), (50, 120)], [CUBE, CUBE, CUBE, BALL])
A, B, C, D = range(4)


def batch(centers, entities, queries, subjects, objects):
    """One image with boxes of 20 x 20 pixels, and a box of padding at the end that is a cube too."""
    middle = np.array([*centers, (0, 0)], np.float32)
    marks = lambda rows: np.array([np.isin(np.arange(len(middle)), row) for row in rows])
    values = {
        "true_boxes": np.concatenate([middle - 10, middle + 10], axis=1),
        "box_mask": np.arange(len(middle)) < len(centers),
        "entities": np.array([*entities, CUBE], np.int32),
        "image_size": np.array([100, 200], np.float32),
        "queries": np.array(queries, np.int32),
        "query_mask": np.ones(len(queries), bool),
        "subject_of": marks(subjects),
        "object_of": marks(objects),
    }
    return {name: tf.constant(value[np.newaxis]) for name, value in values.items()}


def answers(outputs):
    """Of each query the boxes that answer as subject and as object."""
    masks = [outputs[f"{role}_mask"].numpy()[0] for role in ROLES]
    return [tuple(np.flatnonzero(mask).tolist() for mask in of_query) for of_query in zip(*masks)]


QUESTIONS = batch(
    *SCENE,
    [(CUBE, LEFT, BALL), (CUBE, RIGHT, BALL), (CUBE, BEHIND, CUBE), (BALL, FRONT, CUBE)],
    [[A, B], [C], [A, B], [D]],
    [[D], [D], [B, C], [A]],
)


@pytest.mark.parametrize(
    "rule, expected",
    [
        (box_rules.all_of_class, [([A, B, C], [D]), ([A, B, C], [D]), ([A, B, C], [A, B, C]), ([D], [A, B, C])]),
        (box_rules.true_labels, [([A, B], [D]), ([C], [D]), ([A, B], [C]), ([D], [A])]),
        (lambda b: box_rules.most_extreme(b, DIRECTIONS), [([A], [D]), ([C], [D]), ([A], [C]), ([D], [A])]),
        (lambda b: box_rules.centers(b, DIRECTIONS), [([A, B], [D]), ([C], [D]), ([A, B], [B, C]), ([D], [A])]),
        # Of the way to the left, A is at 0.9, B at 0.5, C at 0.1; of the way to the back, A is at 0.8, B at 0.5.
        (
            lambda b: box_rules.own_position(b, DIRECTIONS, 0.45),
            [([A, B], [D]), ([B, C], [D]), ([A, B], [B, C]), ([D], [A, B])],
        ),
        (lambda b: box_rules.own_position(b, DIRECTIONS, 0.55), [([A], [D]), ([C], [D]), ([A], [C]), ([D], [A])]),
        # Where none is beyond, the farthest.
        (lambda b: box_rules.own_position(b, DIRECTIONS, 0.95), [([A], [D]), ([C], [D]), ([A], [C]), ([D], [A])]),
    ],
    ids=["all of class", "true labels", "most extreme", "centers", "own 0.45", "own 0.55", "own 0.95"],
)
def test_a_rule_answers_what_it_says(rule, expected):
    assert answers(rule(QUESTIONS)) == expected


def test_a_relation_that_no_centers_have_is_answered_with_the_pair_that_lacks_least():
    question = batch([(50, 150), (50, 140), (50, 120)], [CUBE, CUBE, BALL], [(CUBE, LEFT, BALL)], [[1]], [[2]])
    assert answers(box_rules.centers(question, DIRECTIONS)) == [([1], [2])]


def test_a_class_with_several_boxes_is_ambiguous_and_padding_is_no_box():
    found = box_rules.ambiguous(QUESTIONS)
    assert found["subject"].numpy().tolist() == [[True, True, True, False]]
    assert found["object"].numpy().tolist() == [[False, False, True, True]]
    alone = batch([(50, 150), (50, 120)], [CUBE, BALL], [(CUBE, LEFT, BALL)], [[0]], [[1]])
    assert not any(mask.numpy().any() for mask in box_rules.ambiguous(alone).values())


def test_their_scores_are_the_shares_of_cells():
    """A box of 20 pixels covers 2 columns of 200 / 14 pixels or 3, and 3 rows of 100 / 14 or 4."""
    found = metrics.referring_iou(box_rules.all_of_class(QUESTIONS), QUESTIONS)
    columns, rows = {A: 3, B: 2, C: 3}, {A: 4, B: 4, C: 4}
    cells = {box: columns[box] * rows[box] for box in columns}
    expected = [(cells[A] + cells[B]) / sum(cells.values()), cells[C] / sum(cells.values())]
    np.testing.assert_allclose(found["subject_iou"].numpy()[0, :2], expected, rtol=1e-6)


def test_relations_that_are_no_directions_have_no_rule():
    np.testing.assert_array_equal(box_rules.directions(("behind", "right")), [[-1, 0], [0, 1]])
    assert box_rules.directions(("left", "wear")) is None
