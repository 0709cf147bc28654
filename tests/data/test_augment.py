"""Flips and colours of training images: the boxes and words that go with them."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow as tf
from batches import (
    ABOVE,
    FLIPPED,
    LEFT,
    RIGHT,
    assert_same,
    evaluate,
    make_scene,
    make_spec,
    questions,
    random_scene,
    train,
    write,
)
from PIL import Image

from dsg_tf.data.batches import augment
from dsg_tf.data.scene import Scene


def mirrored(scene: Scene) -> Scene:
    pixels = np.asarray(Image.open(io.BytesIO(scene.image)))[:, ::-1]
    y0, x0, y1, x1 = scene.boxes.T
    boxes = np.stack([y0, scene.width - x1, y1, scene.width - x0], 1)
    relations = scene.relations.copy()
    relations[:, 1] = np.asarray(FLIPPED)[relations[:, 1]]
    return make_scene(scene.image_id, pixels, boxes, scene.entities, relations)


@pytest.mark.parametrize("size", [(48, 60), (150, 200)])
def test_the_mirrored_twin_gives_the_mirrored_batch(tmp_path, size):
    """Whatever was drawn for an example: its twin gives the same boxes, mirrored, and the same
    questions with left and right exchanged."""
    scene = random_scene(5, size=size)
    (tmp_path / "twin").mkdir()
    spec = make_spec(color_jitter=0.2)
    ours = train(write(tmp_path, [scene]), spec, 1, steps=12)
    theirs = train(write(tmp_path / "twin", [mirrored(scene)]), spec, 1, steps=12)
    for one, two in zip(ours, theirs):
        width = int(one["image_size"][0, 1])
        np.testing.assert_allclose(one["image"][0, :, :width].astype(int), two["image"][0, :, :width][:, ::-1], atol=2)
        used = one["box_mask"][0]
        y0, x0, y1, x1 = two["true_boxes"][0][used].T
        np.testing.assert_allclose(one["true_boxes"][0][used], np.stack([y0, width - x1, y1, width - x0], 1), atol=1e-3)
        in_mirror = [(s, FLIPPED[r], o) for s, r, o in two["relations"][0] if s >= 0]
        assert [tuple(row) for row in one["relations"][0] if row[0] >= 0] == in_mirror
        asked = {(s, FLIPPED[r], o): roles for (s, r, o), roles in questions(two).items()}
        assert questions(one) == asked and len(asked) == len(scene.queries()[0])
    assert 1 < sum(np.allclose(batch["true_boxes"], ours[0]["true_boxes"]) for batch in ours) < 11


def test_flipping_twice_is_the_identity():
    scene = {
        "image": tf.constant(np.random.default_rng(0).integers(0, 256, [5, 7, 3], dtype=np.uint8)),
        "boxes": tf.constant([[1.0, 2.0, 3.0, 6.5]]),
        "relations": tf.constant([[0, LEFT, 1], [2, ABOVE, 1]]),
        "queries": tf.constant([[4, RIGHT, 3]]),
    }
    once = augment.flip(scene, FLIPPED)
    assert once["boxes"].numpy().tolist() == [[1, 0.5, 3, 5]]
    assert once["relations"].numpy().tolist() == [[0, RIGHT, 1], [2, ABOVE, 1]]
    assert once["queries"].numpy().tolist() == [[4, LEFT, 3]]
    assert_same(augment.flip(once, FLIPPED), scene)


def test_without_flipped_relations_nothing_is_flipped(tmp_path):
    files = write(tmp_path, [random_scene(6)])
    (plain,) = evaluate(files, make_spec())
    for batch in train(files, make_spec(flipped_relations=()), 1, steps=10):
        np.testing.assert_array_equal(batch["image"], plain["image"])
        np.testing.assert_array_equal(batch["true_boxes"], plain["true_boxes"])


def test_color_jitter_changes_colours_only(tmp_path):
    files = write(tmp_path, [random_scene(7)])
    (plain,) = evaluate(files, make_spec())
    batches = train(files, make_spec(flipped_relations=(), color_jitter=0.3), 1, steps=6)
    for batch in batches:
        np.testing.assert_array_equal(batch["true_boxes"], plain["true_boxes"])
        difference = np.abs(batch["image"].astype(int) - plain["image"]).mean()
        assert 1 < difference < 80
        assert not batch["image"][0, :, 80:].any()  # padding stays black
    assert len({batch["image"].tobytes() for batch in batches}) == 6
