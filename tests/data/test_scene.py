"""Scenes, queries and the vocabulary."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsg_tf.data.scene import Scene, Vocabulary

VOCABULARY = Vocabulary(
    entities=("red rubber cube", "blue metal sphere", "traffic light"),
    relations=("left", "right", "on the left of", "on the right of", "behind", "left behind"),
)


@st.composite
def scenes(draw):
    num_boxes = draw(st.integers(1, 6))
    box = st.integers(0, num_boxes - 1)
    relations = draw(st.lists(st.tuples(box, st.integers(0, 2), box), unique=True, max_size=12))
    entities = draw(st.lists(st.integers(0, 3), min_size=num_boxes, max_size=num_boxes))
    return Scene("image.jpg", b"", 10, 10, np.ones([num_boxes, 4]), entities, relations)


@settings(deadline=None)
@given(scenes())
def test_every_relation_is_an_instance_of_its_query(scene):
    triplets, query_of_relation = scene.queries()
    for (subject, predicate, obj), query in zip(scene.relations, query_of_relation):
        expected = [scene.entities[subject], predicate, scene.entities[obj]]
        assert triplets[query].tolist() == expected
    assert sorted(set(map(tuple, triplets.tolist()))) == list(map(tuple, triplets.tolist()))
    assert set(query_of_relation.tolist()) == set(range(len(triplets)))
    assert triplets.dtype == query_of_relation.dtype == np.int64
    assert triplets.shape[1:] == (3,) and query_of_relation.shape == (len(scene.relations),)


def test_two_pairs_of_the_same_classes_are_one_query():
    scene = Scene("a", b"", 9, 9, np.ones([3, 4]), [5, 5, 2], [[0, 1, 2], [2, 0, 0], [1, 1, 2]])
    triplets, query_of_relation = scene.queries()
    assert triplets.tolist() == [[2, 0, 5], [5, 1, 2]]
    assert query_of_relation.tolist() == [1, 0, 1]


def test_a_scene_without_boxes_keeps_its_shapes():
    scene = Scene("empty.png", b"", 4, 5, [], [], [])
    assert (scene.boxes.shape, scene.boxes.dtype) == ((0, 4), np.float32)
    assert (scene.relations.shape, scene.relations.dtype) == ((0, 3), np.int64)
    assert scene.queries()[0].shape == (0, 3) and scene.queries()[1].shape == (0,)


def test_a_scene_rejects_what_does_not_fit_together():
    with pytest.raises(ValueError, match="a.jpg: 2 boxes but 1 entities"):
        Scene("a.jpg", b"", 4, 5, np.ones([2, 4]), [0], [])
    with pytest.raises(ValueError, match="a.jpg: relations name the boxes 0 to 2, but there are 2"):
        Scene("a.jpg", b"", 4, 5, np.ones([2, 4]), [0, 0], [[0, 0, 2]])


def test_flip_swaps_left_and_right_where_both_are_known():
    # "left behind" would become "right behind", which is not in the vocabulary.
    assert VOCABULARY.flipped_relations() == (1, 0, 3, 2, 4, 5)
    assert Vocabulary(("a",), ("bright", "leftover")).flipped_relations() == (0, 1)


def test_names_must_be_distinct_and_there():
    with pytest.raises(ValueError, match="two entity classes have the same name: dog"):
        Vocabulary(("dog", "cat", "dog"), ("on",))
    with pytest.raises(ValueError, match="no relation names"):
        Vocabulary(("dog",), ())
