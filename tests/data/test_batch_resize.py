"""Images and boxes at the network's size."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow as tf
from batches import evaluate, make_scene, make_spec, random_scene, train, write
from PIL import Image

from dsg_tf.data.batches import network_input, pipeline
from dsg_tf.data.batches.network_input import Resize


def test_an_aspect_ratio_that_need_not_be_kept_is_lost(tmp_path):
    """In a graph, with the boxes, as the attention models see it."""
    pixels = np.zeros([40, 90, 3], np.uint8)
    pixels[10:20, 30:60] = 255
    shards = write(tmp_path, [make_scene("wide", pixels, [[10, 30, 20, 60]], [0])])
    spec = make_spec(image_size=(64, 64), short_side=64, long_side=64, keep_aspect=False)
    batch = next(iter(pipeline.eval_batches(shards, spec, 1)))
    np.testing.assert_array_equal(batch["image_size"][0], [64, 64])
    np.testing.assert_allclose(batch["true_boxes"][0, 0], [16, 30 * 64 / 90, 32, 60 * 64 / 90], rtol=1e-5)
    assert batch["image"][0, 24, 32, 0] == 255
    assert batch["image"].numpy().mean() == pytest.approx(255 / 12, rel=0.03)


@pytest.mark.parametrize(
    "size, expected",
    [
        ((60, 80), (60, 80)),
        ((30, 40), (60, 80)),
        ((600, 800), (60, 80)),
        ((45, 59), (60, 79)),  # 78.67, to the nearest pixel
        ((90, 40), (70, 31)),  # short 60 asks for 135 x 60, but only 70 rows are there
        ((20, 80), (22, 90)),  # short 60 asks for 60 x 240, the long side may be 90
        ((1, 400), (1, 90)),  # never less than a pixel
    ],
)
def test_resize_keeps_to_the_short_side_the_long_side_and_the_network(size, expected):
    image = network_input.resize(np.zeros([*size, 3], np.uint8), Resize((70, 96), short_side=60, long_side=90))
    assert tuple(image.shape[:2]) == expected


def test_a_resize_is_that_of_tensorflow_without_its_copy_in_floats():
    """At most one level in a thousand pixels rounds to the other side, and by one."""
    rng = np.random.default_rng(0)
    for size in ((300, 500), (61, 47), (20, 30), (64, 95)):
        image = rng.integers(0, 256, [*size, 3], np.uint8)
        how = Resize((70, 96), short_side=60, long_side=90)
        found, image_size = network_input.pad(network_input.resize(image, how), how)
        new_size = image_size.numpy().astype(int)
        floats = tf.image.resize(tf.image.convert_image_dtype(image, tf.float32), new_size, antialias=True)
        expected, _ = network_input.pad(floats, how)
        difference = np.abs(found.numpy().astype(int) - expected.numpy())
        assert difference.max() <= 1 and difference.mean() < 1e-3


def test_resizing_to_the_same_size_changes_no_pixel(tmp_path):
    scene = random_scene(4, size=(64, 96))
    (batch,) = evaluate(write(tmp_path, [scene]), make_spec())
    np.testing.assert_array_equal(batch["image"][0], Image.open(io.BytesIO(scene.image)))


@pytest.mark.parametrize("size", [(64, 96), (37, 53), (411, 307), (31, 90)])
def test_boxes_stay_on_their_pixels(tmp_path, size):
    """A white rectangle on black: its bright pixels span its box, flipped and not."""
    pixels = np.zeros([*size, 3], np.uint8)
    y0, x0, y1, x1 = size[0] // 5, size[1] // 7, size[0] // 2, size[1] // 3
    pixels[y0:y1, x0:x1] = 255
    files = write(tmp_path, [make_scene(pixels=pixels, boxes=[[y0, x0, y1, x1]], entities=[0])])
    batches = evaluate(files, make_spec()) + train(files, make_spec(), 1, steps=10)
    for batch in batches:
        image, box = batch["image"][0].astype(float).mean(-1) / 255, batch["true_boxes"][0, 0]
        rows, columns = np.nonzero(image >= 0.5)
        found = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
        np.testing.assert_allclose(found, box, atol=0.75)
        # The light is where the box is: same centre of mass and, antialiased, the same amount.
        ys, xs = np.indices(image.shape) + 0.5
        centre = [(ys * image).sum() / image.sum(), (xs * image).sum() / image.sum()]
        np.testing.assert_allclose(centre, (box[:2] + box[2:]) / 2, atol=0.05)
        area = (box[2] - box[0]) * (box[3] - box[1])
        np.testing.assert_allclose(image.sum(), area, rtol=0.02)
    assert len({batch["true_boxes"][0, 0, 1].item() for batch in batches}) == 2
