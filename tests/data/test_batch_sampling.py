"""Which queries, relations and boxes of a scene a batch has, where not all fit or some are not to hold."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from batches import ABOVE, LEFT, RIGHT, evaluate, make_scene, make_spec, questions, random_scene, train, write

from dsg_tf.data.scene import Scene


def brute_force_questions(scene: Scene):
    found = {}
    for s, r, o in scene.relations:
        triplet = scene.entities[s], r, scene.entities[o]
        subjects, objects = found.setdefault(triplet, (set(), set()))
        subjects.add(s)
        objects.add(o)
    return {t: (tuple(sorted(s)), tuple(sorted(o))) for t, (s, o) in found.items()}


def test_queries_are_sampled_without_replacement_each_with_all_its_boxes(tmp_path):
    scene = random_scene(8, num_boxes=6, num_relations=14)
    truth = brute_force_questions(scene)
    spec = make_spec(max_queries=4, flipped_relations=())
    counts = dict.fromkeys(truth, 0)
    for batch in train(write(tmp_path, [scene]), spec, 1, steps=300):
        asked = questions(batch)
        assert batch["query_mask"].all() and len(asked) == 4
        for triplet, roles in asked.items():
            assert roles == truth[triplet]
            counts[triplet] += 1
    expected = 300 * 4 / len(truth)
    assert len(truth) > 8 and all(0.6 < n / expected < 1.4 for n in counts.values())


def test_a_share_of_the_queries_does_not_hold(tmp_path):
    """Other relations of the same classes, each once, and now and then a class that is not in the image."""
    scene = random_scene(8, num_boxes=6, num_relations=14)
    truth = brute_force_questions(scene)
    classes, class_pairs = set(scene.entities), {(subject, object_) for subject, _, object_ in truth}
    settings = {"max_queries": 10, "contrastive_queries": 0.4, "num_entities": 7, "num_relations": 3}
    spec = make_spec(flipped_relations=(), **settings)
    for batch in train(write(tmp_path, [scene]), spec, 1, steps=30):
        holds = batch["query_holds"][0]
        assert batch["query_mask"].all() and holds.sum() == 6
        answered = batch["subject_of"][0].any(1), batch["object_of"][0].any(1)
        assert all((has_answer == holds).all() for has_answer in answered)
        assert {tuple(triplet) for triplet in batch["queries"][0][holds]} <= set(truth)
        contrastive = [tuple(triplet) for triplet in batch["queries"][0][~holds]]
        assert not set(contrastive) & set(truth)
        related = {t for t in contrastive if (t[0], t[2]) in class_pairs}
        assert len(related) == 3 and all(0 <= t[1] < 3 for t in contrastive)
        assert all({t[0], t[2]} - classes and {t[0], t[2]} & classes for t in contrastive if t not in related)
    evaluated = evaluate(write(tmp_path, [scene]), make_spec(**settings | {"max_queries": 30}))
    assert evaluated[0]["query_holds"].sum() == len(truth)


def test_few_queries_that_hold_get_few_that_do_not(tmp_path):
    scene = make_scene(boxes=[[0, 0, 5, 5], [9, 9, 15, 15]], entities=[0, 1], relations=[[0, LEFT, 1], [0, ABOVE, 1]])
    spec = make_spec(contrastive_queries=0.5, num_entities=2, num_relations=3, flipped_relations=())
    batch = train(write(tmp_path, [scene]), spec, 1)[0]
    assert batch["query_holds"].sum() == 2 and batch["query_mask"].sum() == 3
    assert batch["queries"][0, 2].tolist() == [0, RIGHT, 1]  # The only one; no class is absent.


@pytest.mark.parametrize("num_boxes", [0, 2])
def test_a_scene_without_queries_gets_none_that_do_not_hold(tmp_path, num_boxes):
    scene = make_scene(boxes=[[0, 0, 5, 5]] * num_boxes, entities=[0] * num_boxes)
    spec = make_spec(contrastive_queries=0.5, num_entities=2, num_relations=3)
    assert not train(write(tmp_path, [scene]), spec, 1)[0]["query_mask"].any()


def test_relations_are_sampled_without_replacement(tmp_path):
    scene = random_scene(9, num_boxes=6, num_relations=20)
    whole = {tuple(row) for row in scene.relations}
    seen = set()
    spec = make_spec(max_relations=5, flipped_relations=())
    for batch in train(write(tmp_path, [scene]), spec, 1, steps=40):
        rows = {tuple(row) for row in batch["relations"][0]}
        assert len(rows) == 5 and rows <= whole
        assert questions(batch) == brute_force_questions(scene)
        seen |= rows
    assert seen == whole


def test_boxes_of_the_sampled_queries_stay_when_boxes_are_cut(tmp_path):
    """Five boxes of five classes, one relation: box 3 is left of box 4. Only three boxes fit."""
    boxes = [[k, k, k + 5, k + 5] for k in range(5)]
    scene = make_scene(boxes=boxes, entities=[10, 11, 12, 13, 14], relations=[[3, LEFT, 4]])
    spec = make_spec(max_boxes=3, flipped_relations=())
    (batch,) = train(write(tmp_path, [scene]), spec, 1)
    assert batch["entities"].tolist() == [[10, 13, 14]]
    factor = 64 / 24
    np.testing.assert_allclose(batch["true_boxes"][0, :, 0], np.array([0, 3, 4]) * factor, rtol=1e-6)
    assert batch["relations"][0, 0].tolist() == [1, LEFT, 2]
    assert questions(batch) == {(13, LEFT, 14): ((1,), (2,))}


def test_what_lost_a_box_is_dropped_when_even_those_do_not_fit(tmp_path):
    """Boxes 0, 1 and 2 are left of box 3; box 3 is above box 0. Boxes 0 and 1 fit."""
    scene = make_scene(
        boxes=[[k, k, k + 5, k + 5] for k in range(4)],
        entities=[5, 5, 5, 6],
        relations=[[0, LEFT, 3], [1, LEFT, 3], [2, LEFT, 3], [3, ABOVE, 0], [0, ABOVE, 1]],
    )
    spec = make_spec(max_boxes=2, flipped_relations=())
    (batch,) = train(write(tmp_path, [scene]), spec, 1)
    assert questions(batch) == {(5, ABOVE, 5): ((0,), (1,))}
    assert batch["relations"][0, 0].tolist() == [0, ABOVE, 1]
    assert (batch["relations"][0, 1:] == -1).all()
    assert not batch["subject_of"][0, 1:].any() and not batch["object_of"][0, 1:].any()


@pytest.mark.parametrize("name", ["boxes", "relations", "queries"])
def test_evaluation_refuses_to_cut(tmp_path, name):
    files = write(tmp_path, [random_scene(0, "crowd.png")])
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"crowd.png.*BatchSpec.max_{name}"):
        evaluate(files, make_spec(**{f"max_{name}": 2}))
