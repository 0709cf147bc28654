"""A batch: keys, shapes, types, padding, and what is refused."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow as tf
from batches import LEFT, evaluate, make_scene, make_spec, random_scene, train, write
from PIL import Image

from dsg_tf.data.batches import network_input, pipeline


def test_batches_have_the_promised_keys_shapes_and_types(tmp_path):
    files = write(tmp_path, [random_scene(k, str(k)) for k in range(3)])
    b, h, w, m, t, q = 2, 64, 96, 8, 30, 30
    promised = {
        "image": ([b, h, w, 3], tf.uint8),
        "image_size": ([b, 2], tf.float32),
        "original_size": ([b, 2], tf.float32),
        "true_boxes": ([b, m, 4], tf.float32),
        "box_mask": ([b, m], tf.bool),
        "entities": ([b, m], tf.int32),
        "relations": ([b, t, 3], tf.int32),
        "queries": ([b, q, 3], tf.int32),
        "query_mask": ([b, q], tf.bool),
        "query_holds": ([b, q], tf.bool),
        "subject_of": ([b, q, m], tf.bool),
        "object_of": ([b, q, m], tf.bool),
        "seed": ([b, 2], tf.int32),
    }
    found = pipeline.train_batches(files, make_spec(), b, 0, 0, 3).element_spec
    assert {k: (s.shape.as_list(), s.dtype) for k, s in found.items()} == promised
    found = pipeline.eval_batches(files, make_spec(), b).element_spec
    promised |= {"image_id": ([b], tf.string), "example_mask": ([b], tf.bool)}
    assert {k: (s.shape.as_list(), s.dtype) for k, s in found.items()} == promised


def test_what_is_beyond_the_scene_is_padding(tmp_path):
    scene = random_scene(0, size=(48, 60), num_boxes=5, num_relations=9)
    (batch,) = evaluate(write(tmp_path, [scene]), make_spec())
    num_queries = len(scene.queries()[0])
    assert batch["box_mask"][0].tolist() == [True] * 5 + [False] * 3
    assert batch["query_mask"][0].tolist() == [True] * num_queries + [False] * (30 - num_queries)
    np.testing.assert_array_equal(batch["entities"][0, :5], scene.entities)
    np.testing.assert_array_equal(batch["relations"][0, :9], scene.relations)
    np.testing.assert_array_equal(batch["queries"][0, :num_queries], scene.queries()[0])
    assert (batch["relations"][0, 9:] == -1).all()
    for name, used in (("true_boxes", 5), ("entities", 5), ("queries", num_queries)):
        assert not batch[name][0, used:].any()
    # 48 x 60 becomes 64 x 80 in 64 x 96.
    assert batch["original_size"].tolist() == [[48, 60]]
    assert batch["image_size"].tolist() == [[64, 80]]
    assert batch["image"][0, :, :80].any(axis=2).mean() > 0.99
    assert not batch["image"][0, :, 80:].any()


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "P", "I;16"])
def test_every_kind_of_image_becomes_rgb(mode):
    image = Image.new("L" if mode == "I;16" else "RGB", [32, 24], "white").convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG" if mode == "CMYK" else "PNG")
    network, size, original = network_input.network_image(buffer.getvalue(), make_spec().resize)
    assert network.dtype == tf.uint8 and network.shape == [64, 96, 3]
    assert size.numpy().tolist() == [64, 85] and original.numpy().tolist() == [24, 32]
    if mode != "I;16":
        assert (network.numpy()[:, :85] >= 254).all()


def test_an_image_alone_looks_as_in_the_batch(tmp_path):
    scene = random_scene(3, size=(200, 170))
    (batch,) = evaluate(write(tmp_path, [scene]), make_spec())
    network, size, original = network_input.network_image(scene.image, make_spec().resize)
    np.testing.assert_array_equal(network, batch["image"][0])
    np.testing.assert_array_equal(size, batch["image_size"][0])
    np.testing.assert_array_equal(original, batch["original_size"][0])


def test_scenes_without_boxes_relations_or_queries(tmp_path):
    scenes = [make_scene("empty"), make_scene("no relations", boxes=[[0, 0, 9, 9]], entities=[3])]
    files = write(tmp_path, scenes)
    trained = train(files, make_spec(), 2, batch_size=2, steps=4)
    for batch in evaluate(files, make_spec(), 2) + trained:
        assert sorted(batch["box_mask"].sum(axis=1)) == [0, 1]
        assert not batch["query_mask"].any()
        assert not batch["subject_of"].any() and not batch["object_of"].any()
        assert (batch["relations"] == -1).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_box_that_is_not_finite_names_its_image(tmp_path, value):
    scene = make_scene("bad.png", boxes=[[0, 0, 9, 9], [0, 0, 5, value]], entities=[3, 3], relations=[[0, LEFT, 1]])
    files = write(tmp_path, [scene])
    for read in (lambda: evaluate(files, make_spec()), lambda: train(files, make_spec(), 1)):
        with pytest.raises(tf.errors.InvalidArgumentError, match="bad.png.*not finite"):
            read()


def test_impossible_arguments_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no TFRecord files"):
        pipeline.train_batches([], make_spec(), 1, 0, 0, 1)
    with pytest.raises(ValueError, match="no TFRecord files"):
        pipeline.eval_batches([], make_spec(), 1)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        pipeline.eval_batches(["x"], make_spec(), 0)
    with pytest.raises(ValueError, match="got 0 and -1"):
        pipeline.train_batches(["x"], make_spec(), 1, 0, -1, 0)
    with pytest.raises(ValueError, match="max_boxes must be at least 1, got 0"):
        make_spec(max_boxes=0)
    with pytest.raises(ValueError, match=r"Resize.image_size must be \(height, width\), got \(0, 64\)"):
        make_spec(image_size=(0, 64))
    with pytest.raises(ValueError, match="Resize.short_side must be at least 1, got 0"):
        make_spec(short_side=0)
    with pytest.raises(ValueError, match=r"every relation id once, got \(1, 1\)"):
        make_spec(flipped_relations=(1, 1))
    with pytest.raises(ValueError, match="color_jitter must be in 0..1, got 2"):
        make_spec(color_jitter=2)
    with pytest.raises(ValueError, match=r"contrastive_queries must be in \[0, 1\), got 1"):
        make_spec(contrastive_queries=1)
